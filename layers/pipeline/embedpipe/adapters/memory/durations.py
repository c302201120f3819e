"""Durations and their percentiles, as PostgreSQL computes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from embedpipe.ports.overview import Spread


def since(start: datetime, moments: Iterable[datetime | None]) -> int:
    """Count the moments from a start on."""
    return sum(moment is not None and moment >= start for moment in moments)


def spread(pairs: Iterable[tuple[datetime | None, datetime | None]]) -> Spread:
    """Give the percentiles of how long it was from one moment to the other."""
    durations = sorted(
        (end - begin).total_seconds() for begin, end in pairs if begin is not None and end
    )
    if not durations:
        return Spread()
    return Spread(*(_percentile(durations, share) for share in (0.5, 0.95, 0.99, 1.0)))


def _percentile(ordered: list[float], share: float) -> float:
    """Interpolate between the two nearest, as `percentile_cont` does."""
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
