from __future__ import annotations

import numpy as np
import pytest
from embedpipe.domain.pooling import PoolingType, normalize, pool, shorten

HIDDEN = np.array(
    [
        [[1, 2], [3, 6], [100, 100]],
        [[9, 9], [5, 1], [7, 3]],
    ],
    dtype=np.float32,
)
RIGHT_AND_LEFT_PADDED = np.array([[1, 1, 0], [0, 1, 1]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [[2, 4], [6, 2]]),
        ("cls", [[1, 2], [5, 1]]),
        ("last_token", [[3, 6], [7, 3]]),
    ],
)
def test_padding_has_no_part_in_the_vector(how: PoolingType, expected: list[list[float]]) -> None:
    vectors = pool(HIDDEN, RIGHT_AND_LEFT_PADDED, how)

    assert vectors.tolist() == expected
    assert vectors.dtype == np.float32


def test_normalized_rows_have_unit_length_and_zeros_stay_zeros() -> None:
    vectors = normalize(np.array([[3, 4], [0, 0]], dtype=np.float32))

    assert vectors == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]), rel=1e-6)
    assert vectors.dtype == np.float32


def test_a_shortened_vector_has_unit_length_again_and_the_long_one_is_left_alone() -> None:
    vectors = np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]], dtype=np.float32)

    short = shorten(vectors, 2)

    assert short.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert short.dtype == np.float32
    assert vectors[0].tolist() == pytest.approx([0.6, 0.0, 0.8])


@pytest.mark.parametrize("dimensions", [0, 4])
def test_a_vector_cannot_be_shortened_to_a_length_it_has_not(dimensions: int) -> None:
    with pytest.raises(ValueError, match="3 dimensions cannot have"):
        shorten(np.ones((1, 3), dtype=np.float32), dimensions)
