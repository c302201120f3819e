from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.embedders.remote.embedder import parted
from embedpipe.adapters.embedders.remote.vectors import answer_bytes, checked
from embedpipe.errors import (
    DimensionMismatchError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from embedpipe.models.known import BatchLimits
from hypothesis import given
from hypothesis import strategies as st


def test_vectors_have_unit_length_whatever_they_were() -> None:
    encoded = base64.b64encode(struct.pack("<2f", 3.0, 4.0)).decode()

    vectors = checked([[3, 4], encoded, [1e30, 0.0], [1e-5, 0]], texts=4, dimensions=2)

    expected = np.array([[0.6, 0.8], [0.6, 0.8], [1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("rows", [[[1, 2, 3]], ["AAAAAA=="], [[]], [""], [[1]]])
def test_another_length_is_no_fault_of_a_text(rows: list[Any]) -> None:
    with pytest.raises(DimensionMismatchError):
        checked(rows, texts=1, dimensions=2)


@pytest.mark.parametrize("row", ["!", "AAA=", None, 7, {"a": 1}, [[1, 2]], ["a", "b"], [1, [2]]])
def test_what_is_no_vector_is_no_answer(row: Any) -> None:
    with pytest.raises(ProviderUnavailableError):
        checked([row], texts=1, dimensions=2)


@pytest.mark.parametrize("row", [[0, 0], [float("nan"), 1], [float("-inf"), 1], [None, 1]])
def test_a_vector_without_direction_is_rejected(row: list[Any]) -> None:
    with pytest.raises(ProviderRejectedError) as raised:
        checked([[1, 0], row], texts=2, dimensions=2)

    assert raised.value.code == "BAD_VECTOR"


def test_there_is_one_vector_for_each_text() -> None:
    with pytest.raises(ProviderRejectedError, match="1 vectors for 2 texts"):
        checked([[1, 0]], texts=2, dimensions=2)


def test_room_for_an_answer_is_more_than_it_takes() -> None:
    import json

    answer = json.dumps([[-0.12345678901234567] * 100] * 10, indent=8)

    assert answer_bytes(10, 100) - answer_bytes(0, 0) > len(answer)


@given(
    st.lists(st.text(max_size=40), max_size=30),
    st.integers(1, 10),
    st.integers(1, 60),
)
def test_parts_hold_each_text_once_in_order_within_the_limits(
    texts: list[str], most: int, tokens: int
) -> None:
    parts = parted(texts, BatchLimits(most, tokens))

    assert [index for part in parts for index in part] == list(range(len(texts)))
    for part in parts:
        spent = sum(len(texts[index].encode("utf-8", "surrogatepass")) // 2 + 1 for index in part)
        assert 0 < len(part) <= most
        assert spent <= tokens or len(part) == 1
