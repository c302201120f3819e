"""Vectors of a provider's answer, checked before anybody relies on them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from embedpipe.errors import (
    DimensionMismatchError,
    ProviderRejectedError,
    ProviderUnavailableError,
)

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

#: A number in JSON with its blanks, generously.
_BYTES_PER_NUMBER = 48
_ENVELOPE_BYTES = 1_048_576
_SHORTEST = 1e-6


def answer_bytes(texts: int, dimensions: int) -> int:
    """Give the most that an answer with so many vectors can take."""
    return _ENVELOPE_BYTES + texts * dimensions * _BYTES_PER_NUMBER


def checked(rows: Sequence[Any], *, texts: int, dimensions: int) -> Floats:
    """Give the rows as unit vectors.

    Parameters
    ----------
    rows
        One per text, in order: numbers, or little-endian float32 in base64.

    Returns
    -------
    Shape (texts, dimensions), float32, unit length.

    Raises
    ------
    ProviderRejectedError
        Another number of rows; BAD_VECTOR: one is not finite or has no length.
    DimensionMismatchError
        The model gives other vectors than the catalogue says. No text is to blame, and to ask
        again would not help.
    ProviderUnavailableError
        What should be a vector is none.
    """
    if len(rows) != texts:
        raise ProviderRejectedError(f"the provider gave {len(rows)} vectors for {texts} texts")
    vectors = np.empty((texts, dimensions), dtype=np.float64)
    for index, row in enumerate(rows):
        values = _values(row)
        if values.shape != (dimensions,):
            length = values.size
            raise DimensionMismatchError(
                f"the provider gave vectors of {length} dimensions, expected {dimensions}"
            )
        vectors[index] = values
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < _SHORTEST).any():
        raise ProviderRejectedError("the provider gave a bad vector", code="BAD_VECTOR")
    unit: Floats = (vectors / norms).astype(np.float32)
    return unit


def _values(row: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        if isinstance(row, str):
            data = base64.b64decode(row, validate=True)
            return np.frombuffer(data, dtype="<f4").astype(np.float64)
        values = np.asarray(row, dtype=np.float64)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        raise ProviderUnavailableError("the provider's answer holds no vectors") from None
    if values.ndim != 1:
        raise ProviderUnavailableError("the provider's answer holds no vectors")
    return values
