"""Rows of float32 as the store messages carry them, checked before they touch a table.

Without numpy: the Lambda that stores vectors does not have it.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence

from embedpipe.errors import BadVectorError, DimensionMismatchError, InvalidInputError


def read_rows(vectors: bytes, rows: int, dimensions: int) -> array[float]:
    """Read little-endian float32 into an array in the byte order of this machine.

    Raises
    ------
    DimensionMismatchError
        The length is not rows * dimensions * 4 bytes.
    BadVectorError
        A value is not finite, or a row is all zeros and has no direction.
    """
    if len(vectors) != rows * dimensions * 4:
        raise DimensionMismatchError("the vectors do not fit their batch")
    values = array("f")
    values.frombytes(vectors)
    if sys.byteorder == "big":
        values.byteswap()
    # One infinite or undefined value makes the sum so, and finite float32 cannot overflow it.
    if not math.isfinite(sum(values)):
        raise BadVectorError
    if any(not any(values[at : at + dimensions]) for at in range(0, len(values), dimensions)):
        raise BadVectorError
    return values


def check_query(vector: Sequence[float], dimensions: int) -> None:
    """Check the vector of a query.

    Raises
    ------
    InvalidInputError
        DIMENSION_MISMATCH, or ZERO_VECTOR when it is not finite or all zeros.
    """
    if len(vector) != dimensions:
        raise InvalidInputError(
            f"the collection holds vectors of {dimensions} dimensions", code="DIMENSION_MISMATCH"
        )
    if not all(map(math.isfinite, vector)) or not any(vector):
        raise InvalidInputError("the query vector has no direction", code="ZERO_VECTOR")
