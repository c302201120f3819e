"""What was measured, minute by minute, and statistics over windows of it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tests.alarms.metric_math import Series

MINUTE_S = 60


class Metric(NamedTuple):
    """A metric with its one dimension's value, or all of several; see `definitions`."""

    namespace: str
    name: str
    dimension: str


class Samples:
    """Values by metric and minute. The minute that is over last is `now`."""

    def __init__(self) -> None:
        self.now = 0
        self._values: dict[Metric, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, metric: Metric, values: Iterable[float]) -> None:
        """Add values to the running minute."""
        self._values[metric][self.now].extend(values)

    def series(self, metric: Metric, statistic: str, period_s: int, points: int) -> Series:
        """Give a statistic over the last windows, the newest last; None where there is no data.

        Windows slide: the newest ends with the running minute.
        """
        minutes = period_s // MINUTE_S
        by_minute = self._values.get(metric, {})
        found: Series = []
        for back in range(points - 1, -1, -1):
            end = self.now - back * minutes
            window = [
                value
                for minute in range(end - minutes + 1, end + 1)
                for value in by_minute.get(minute, ())
            ]
            found.append(of(window, statistic) if window else None)
        return found


def of(values: list[float], statistic: str) -> float:
    """Compute a statistic; percentiles are the value at or below which so many percent lie.

    Examples
    --------
    >>> [of([4.0, 1.0, 3.0], name) for name in ("Maximum", "Sum", "SampleCount", "Average", "p50")]
    [4.0, 8.0, 3.0, 2.6666666666666665, 3.0]
    """
    if statistic.startswith("p"):
        rank = math.ceil(float(statistic[1:]) / 100 * len(values))
        return sorted(values)[max(rank, 1) - 1]
    if statistic == "SampleCount":
        return float(len(values))
    if statistic == "Average":
        return sum(values) / len(values)
    if statistic == "Sum":
        return float(sum(values))
    return max(values) if statistic == "Maximum" else min(values)
