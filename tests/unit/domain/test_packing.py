"""Batches that fit: inputs into an embed message, vectors into a store message."""

from __future__ import annotations

import base64

import pytest
from embedpipe.domain.packing import (
    ENVELOPE_BYTES,
    MOST_BODY_BYTES,
    base64_bytes,
    most_chunks,
    tokens_bytes,
)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 100, 1024])
def test_base64_has_the_length_that_is_said(size: int) -> None:
    assert base64_bytes(size) == len(base64.b64encode(bytes(size)))


@pytest.mark.parametrize("dimensions", [1, 384, 768, 1024, 3072, 16_000])
def test_the_vectors_of_a_batch_fit_into_a_message(dimensions: int) -> None:
    chunks = most_chunks(1000, dimensions)

    assert ENVELOPE_BYTES + chunks * base64_bytes(4 * dimensions) <= MOST_BODY_BYTES


def test_a_batch_has_at_least_one_chunk_however_wide_its_vector() -> None:
    assert most_chunks(64, 1_000_000) == 1


def test_a_batch_has_no_more_chunks_than_it_may() -> None:
    assert most_chunks(64, 1) == 64


def test_token_ids_count_four_bytes_each() -> None:
    assert tokens_bytes(256) == base64_bytes(4 * 256 + 16)
