from __future__ import annotations

from typing import Any

import pytest
from embedpipe.models.fingerprint import fingerprint

PARTS: dict[str, Any] = {
    "weights_sha256": "a" * 64,
    "tokenizer_sha256": "b" * 64,
    "max_tokens": 256,
    "pooling": "mean",
    "query_prefix": "",
}


def test_the_order_of_the_parts_does_not_matter() -> None:
    assert fingerprint(**PARTS) == fingerprint(**dict(reversed(PARTS.items())))


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "c" * 64},
        {"tokenizer_sha256": "c" * 64},
        {"max_tokens": 512},
        {"pooling": "cls"},
        {"query_prefix": "query: "},
    ],
)
def test_whatever_changes_the_vectors_changes_it(change: dict[str, Any]) -> None:
    assert fingerprint(**{**PARTS, **change}) != fingerprint(**PARTS)
