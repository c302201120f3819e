"""Lanes of the embed stage: work of a higher priority goes first, and no lane starves."""

from __future__ import annotations

from collections.abc import Mapping

HIGH, NORMAL, LOW = "high", "normal", "low"

#: How much of the worker each lane gets while all of them have work, the first to be served first.
LANES: Mapping[str, int] = {HIGH: 6, NORMAL: 3, LOW: 1}
#: The queue of each lane, as the outbox names it.
QUEUES: Mapping[str, str] = {HIGH: "embed_high", NORMAL: "embed", LOW: "embed_low"}

_HIGH_FROM, _LOW_TO = 67, 33


def lane_of(priority: int) -> str:
    """Give the lane of a job, by its priority from 0 to 100.

    Examples
    --------
    >>> [lane_of(priority) for priority in (0, 33, 34, 50, 66, 67, 100)]
    ['low', 'low', 'normal', 'normal', 'normal', 'high', 'high']
    """
    if priority >= _HIGH_FROM:
        return HIGH
    return LOW if priority <= _LOW_TO else NORMAL
