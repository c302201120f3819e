"""What a reader must never see, and that it is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.chaos.embedder import vectors_of
from tests.chaos.reader import incomplete

CONTENT = "a b c d e f"


def chunk(index: int, start: int, end: int) -> dict[str, Any]:
    return {"chunk_index": index, "start": start, "end": end, "text": CONTENT[start:end]}


WHOLE = [chunk(0, 0, 3), chunk(1, 4, 7), chunk(2, 8, 11)]


def test_all_chunks_of_a_text_in_any_order_are_whole() -> None:
    assert incomplete([WHOLE[2], WHOLE[0], WHOLE[1]], CONTENT) == []


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_chunk_that_is_missing_is_noticed(missing: int) -> None:
    assert incomplete(WHOLE[:missing] + WHOLE[missing + 1 :], CONTENT)


def test_a_chunk_that_is_there_twice_is_noticed() -> None:
    assert incomplete([*WHOLE, WHOLE[1]], CONTENT)


def test_a_chunk_of_another_text_is_noticed() -> None:
    assert incomplete([WHOLE[0], {**WHOLE[1], "text": "x y"}, WHOLE[2]], CONTENT)


def test_a_vector_follows_from_its_tokens_alone() -> None:
    inputs = [[2, 7, 8, 3], [2, 8, 7, 3], [2, 9, 3]]

    together, alone = vectors_of(inputs, 8), vectors_of(inputs[1:2], 8)

    assert np.array_equal(together[1], alone[0])
    assert not np.allclose(together[0], together[1])
    assert np.allclose(np.linalg.norm(together, axis=1), 1)
