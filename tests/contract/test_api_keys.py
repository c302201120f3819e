"""API keys: found by their id, hashed at rest."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pytest
from embedpipe.errors import NotFoundError
from embedpipe.ports import Principal

if TYPE_CHECKING:
    from tests.conftest import Backend


@pytest.mark.parametrize("role", ["user", "admin"])
def test_a_key_is_found_by_its_id(backend: Backend, role: str) -> None:
    key = backend.create_key("acme", role)
    key_id = key.split("_")[1]

    found = backend.database.api_keys.find(key_id)

    assert re.fullmatch(r"ep_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", key)
    assert found == (Principal("acme", role, key_id), hashlib.sha256(key.encode()).digest())


def test_only_the_hash_is_kept(backend: Backend) -> None:
    key = backend.create_key("acme", "user")

    [row] = backend.rows("api_keys")

    assert key.split("_", 2)[2] not in repr(row)


@pytest.mark.parametrize("key_id", ["", "0" * 16, "%", "' OR true --", "\0", "é"])
def test_an_unknown_key_is_not_found(backend: Backend, key_id: str) -> None:
    backend.create_key("acme", "user")

    assert backend.database.api_keys.find(key_id) is None


def test_a_tenant_that_is_not_there_gets_no_key(backend: Backend) -> None:
    with pytest.raises(NotFoundError) as caught:
        backend.create_key("nobody", "user")

    assert caught.value.code == "TENANT_NOT_FOUND"
