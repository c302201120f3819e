"""What to measure on a device, and what to choose from the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median

# A difference that one cannot rely on; of two as fast, the smaller is better: less waiting, less
# memory.
SLACK = 0.02
# Half of the inputs are shorter. Chunks are up to 200 tokens, titles and questions 5 to 20.
_MEDIAN_TOKENS = 60
_SIGMA = 0.9
_SHORTEST = 4


@dataclass(frozen=True, order=True)
class Arm:
    """A way to use a device: inference batches at the same time, threads within each."""

    streams: int
    threads: int


def cpu_arms(cores: int) -> list[Arm]:
    """Give the ways to share cores that are worth a measurement, fewest streams first.

    Examples
    --------
    >>> [(arm.streams, arm.threads) for arm in cpu_arms(16)]
    [(1, 16), (4, 4), (16, 1)]
    >>> [(arm.streams, arm.threads) for arm in cpu_arms(2)]
    [(1, 2), (2, 1)]
    """
    cores = max(cores, 1)
    between = 2 ** round(math.log2(cores) / 2)
    return [Arm(streams, cores // streams) for streams in sorted({1, between, cores})]


def sample_lengths(max_tokens: int, total: int) -> list[int]:
    """Give lengths as documents have them, about so many tokens in all; the same every time.

    Log-normal, at even quantiles, so that two samples differ in size only.

    Notes
    -----
    That lengths of natural texts are about log-normal: Williams (1940), A note on the statistical
    analysis of sentence-length as a criterion of literary style.
    """
    mean = _MEDIAN_TOKENS * math.exp(_SIGMA**2 / 2)
    count = max(8, math.ceil(total / min(mean, max_tokens)))
    normal = NormalDist(math.log(_MEDIAN_TOKENS), _SIGMA)
    drawn = (math.exp(normal.inv_cdf((i + 0.5) / count)) for i in range(count))
    return [min(max(round(length), _SHORTEST), max_tokens) for length in drawn]


def spread(count: int) -> list[int]:
    """Give an order in which any few neighbours come from all over, each index once.

    Examples
    --------
    >>> spread(5)
    [0, 2, 4, 1, 3]
    """
    golden = (math.sqrt(5) - 1) / 2
    return sorted(range(count), key=lambda index: index * golden % 1)


def overhead_tokens(seconds: Mapping[int, float], *, most: int) -> int:
    """Give what starting a batch costs, in padded tokens that could have been computed meanwhile.

    Parameters
    ----------
    seconds
        What a batch took, by its padded tokens; two sizes at least.
    most
        The largest answer.

    Notes
    -----
    Fits t = a + b * tokens and gives a / b. The slope is the median over all pairs, so that one
    disturbed size does no harm: Theil (1950) and Sen (1968), estimates of the regression
    coefficient based on Kendall's tau.
    """
    slope = median(
        (seconds[large] - seconds[small]) / (large - small)
        for small, large in combinations(sorted(seconds), 2)
    )
    if slope <= 0:
        return most
    start = median(value - slope * tokens for tokens, value in seconds.items())
    return min(max(round(start / slope), 0), most)


def smallest_near_best(rates: Sequence[Sequence[float]]) -> int:
    """Give the place of the first candidate whose median rate is within `SLACK` of the best.

    Parameters
    ----------
    rates
        What was measured, several times each; the candidate to prefer first.

    Examples
    --------
    >>> smallest_near_best([[50, 51], [99, 20, 99], [100, 100]])
    1
    """
    medians = [median(values) for values in rates]
    least = max(medians) * (1 - SLACK)
    return next(place for place, rate in enumerate(medians) if rate >= least)
