"""Token vectors to one vector per input, for graphs that stop at the hidden states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.integer[Any]]
PoolingType = Literal["mean", "cls", "last_token"]


def pool(hidden: Floats, mask: Mask, how: PoolingType) -> Floats:
    """Give one vector per input.

    Parameters
    ----------
    hidden
        Last hidden state, shape (batch, tokens, dimensions), float32.
    mask
        1 for a real token, 0 for padding, shape (batch, tokens); at least one 1 per row.

    Returns
    -------
    Shape (batch, dimensions), float32, not normalized.
    """
    return _POOLINGS[how](hidden, mask)


def mean_pool(hidden: Floats, mask: Mask) -> Floats:
    """Average the token vectors selected by the mask.

    Notes
    -----
    Source: Reimers & Gurevych (2019), Sentence-BERT, section 3, MEAN strategy.
    """
    weights = mask.astype(np.float32)[:, :, np.newaxis]
    total: Floats = (hidden * weights).sum(axis=1, dtype=np.float32)
    mean: Floats = total / weights.sum(axis=1, dtype=np.float32)
    return mean


def cls_pool(hidden: Floats, mask: Mask) -> Floats:
    """Take the vector of the first real token, wherever the padding is.

    Notes
    -----
    Source: Reimers & Gurevych (2019), Sentence-BERT, section 3, CLS strategy.
    """
    first: Floats = hidden[np.arange(len(hidden)), mask.argmax(axis=1)]
    return first


def last_token_pool(hidden: Floats, mask: Mask) -> Floats:
    """Take the vector of the last real token, wherever the padding is.

    Notes
    -----
    Source: Wang et al. (2024), Improving Text Embeddings with Large Language Models, section 3.1:
    the last layer's vector of the end-of-text token.
    """
    place = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    last: Floats = hidden[np.arange(len(hidden)), place]
    return last


def normalize(vectors: Floats) -> Floats:
    """Scale each row to unit length; a row of zeros stays as it is.

    Examples
    --------
    >>> normalize(np.array([[3.0, 4.0]], dtype=np.float32)).round(2).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    scaled: Floats = vectors / lengths
    return scaled


def shorten(vectors: Floats, dimensions: int) -> Floats:
    """Keep the first dimensions of each row and scale it to unit length again.

    Only for models trained so that this keeps their meaning, and to the lengths that they name.

    Raises
    ------
    ValueError
        The rows do not have so many dimensions.

    Notes
    -----
    Source: Kusupati et al. (2022), Matryoshka Representation Learning, section 3.

    Examples
    --------
    >>> shorten(np.array([[0.6, 0.0, 0.8]], dtype=np.float32), 2).tolist()
    [[1.0, 0.0]]
    """
    if not 1 <= dimensions <= vectors.shape[1]:
        raise ValueError(f"vectors of {vectors.shape[1]} dimensions cannot have {dimensions}")
    return normalize(vectors[:, :dimensions])


_POOLINGS: dict[PoolingType, Callable[[Floats, Mask], Floats]] = {
    "mean": mean_pool,
    "cls": cls_pool,
    "last_token": last_token_pool,
}
