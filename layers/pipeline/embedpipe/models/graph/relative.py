"""Learned biases by the distance between two tokens.

Notes
-----
Source: Raffel et al. (2020), Exploring the Limits of Transfer Learning, section 2.1, as MPNet uses
it: Song et al. (2020), MPNet, section 2.
"""

from __future__ import annotations

import numpy as np

from embedpipe.models.graph.nodes import Array

#: All greater distances share one bias.
FARTHEST = 128


def bucket(distance: int, buckets: int) -> int:
    """Give the row of the learned table for a distance, positive to the right.

    Half of the rows are for each direction; of these, half are for one distance each and the rest
    for ranges that grow as powers do.

    Examples
    --------
    >>> [bucket(distance, 32) for distance in (0, -1, 1, 8, 16, 127, -1000)]
    [0, 1, 17, 24, 26, 31, 15]
    """
    half = buckets // 2
    exact = half // 2
    size = abs(distance)
    if size >= exact:
        # In single precision, as the weights were trained: at the edges of ranges it decides.
        share = np.log(np.float32(size) / np.float32(exact)) / np.float32(np.log(FARTHEST / exact))
        size = min(exact + int(share * np.float32(half - exact)), half - 1)
    return size + (half if distance > 0 else 0)


def bias_by_distance(learned: Array, *, longest: int, buckets: int) -> Array:
    """Give the bias of every distance that inputs can have.

    Parameters
    ----------
    learned
        Shape (buckets, heads), float32.

    Returns
    -------
    Shape (2 * longest - 1, heads), float32; distance 0 in the middle.
    """
    return learned[[bucket(distance, buckets) for distance in range(1 - longest, longest)]]
