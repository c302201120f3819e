"""What every object store does."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.adapters import claim_check
from embedpipe.errors import ContentLostError, MalformedMessageError
from embedpipe.ports import Blobs


@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 10, b"x" * 2_000_000])
def test_bytes_come_back_as_they_were(blobs: Blobs, data: bytes) -> None:
    uri = blobs.put("content/a b/ü+%.txt", data)

    assert blobs.get(uri) == data
    assert uri.startswith("s3://")


def test_putting_again_replaces(blobs: Blobs) -> None:
    first, second = blobs.put("key", b"one"), blobs.put("key", b"two")

    assert first == second
    assert blobs.get(second) == b"two"


def test_what_is_gone_is_lost(blobs: Blobs) -> None:
    uri = blobs.put("key", b"data")

    blobs.delete(uri)
    blobs.delete(uri)

    with pytest.raises(ContentLostError):
        blobs.get(uri)


def test_another_bucket_is_out_of_reach(blobs: Blobs) -> None:
    with pytest.raises(ContentLostError):
        blobs.get("s3://another-bucket/key")


def test_objects_are_listed_by_key_a_page_at_a_time(blobs: Blobs) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    uris = [blobs.put(f"listed/{number}", b"data") for number in (3, 1, 2)]
    blobs.put("other/0", b"data")

    first = blobs.list("listed/", limit=2)
    rest = blobs.list("listed/", after=first[-1].key, limit=2)

    assert [blob.key for blob in (*first, *rest)] == ["listed/1", "listed/2", "listed/3"]
    assert {blob.uri for blob in (*first, *rest)} == set(uris)
    assert all(blob.changed_at > before for blob in (*first, *rest))
    assert blobs.list("listed/", after="listed/3") == blobs.list("none/") == []


def test_a_claim_check_gives_the_body_back(blobs: Blobs) -> None:
    body = '{"text": "Gr\\u00fc\\u00dfe"}'

    message = claim_check.check_in(body, blobs)

    assert claim_check.resolve(message, blobs) == body


def test_a_claim_check_whose_object_is_gone_is_lost(blobs: Blobs) -> None:
    message = claim_check.check_in("{}", blobs)
    sha256 = hashlib.sha256(b"{}").hexdigest()
    blobs.delete(blobs.put(f"messages/{sha256}", b"{}"))

    with pytest.raises(ContentLostError):
        claim_check.resolve(message, blobs)


def test_a_claim_check_whose_object_was_changed_is_lost(blobs: Blobs) -> None:
    message = claim_check.check_in("{}", blobs)
    blobs.put(f"messages/{hashlib.sha256(b'{}').hexdigest()}", b"[]")

    with pytest.raises(ContentLostError):
        claim_check.resolve(message, blobs)


def test_a_claim_check_cannot_reach_other_objects(blobs: Blobs) -> None:
    uri = blobs.put("content/secret", b"secret")
    sha256 = hashlib.sha256(b"secret").hexdigest()
    pointer = {"uri": uri, "sha256": sha256, "bytes": 6}
    forged = json.dumps({"claim_check": pointer}, separators=(",", ":"))

    with pytest.raises(MalformedMessageError):
        claim_check.resolve(forged, blobs)
