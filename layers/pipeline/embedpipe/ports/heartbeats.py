"""Port to the heartbeats of workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

#: So many beats must be missing before a worker counts as stalled.
MISSED_BEATS = 3
#: Workers that were not heard of for so long are forgotten. One that was killed rings until then.
KEPT_S = 3600
#: But not before so many of its beats are missing: one that beats seldom is to be seen as stalled.
KEPT_BEATS = 2 * MISSED_BEATS


@dataclass(frozen=True)
class WorkerBeat:
    """A worker as it was last heard of.

    Attributes
    ----------
    since
        Its first beat.
    in_flight
        Messages that it holds.
    is_stalled
        Whether more than three of its beats are missing, by the database's clock.
    """

    worker_id: str
    stage: str
    state: str
    in_flight: int
    interval_s: float
    since: datetime
    last_beat: datetime
    is_stalled: bool


def kept_s(interval_s: float) -> float:
    """Say for how long a worker is remembered that was to beat that often."""
    return max(KEPT_S, KEPT_BEATS * interval_s)


class Heartbeats(Protocol):
    """Workers that say that they live. Times are the database's.

    Every method raises StoreUnavailableError when the database is out of reach.
    """

    def beat(
        self, worker_id: str, stage: str, state: str, in_flight: int, interval_s: float
    ) -> None:
        """Say that a worker lives, and forget those not heard of for `kept_s`.

        Parameters
        ----------
        state
            `running`, `paused` or `stopping`.
        interval_s
            When the next beat is to be expected.
        """
        ...

    def leave(self, worker_id: str) -> None:
        """Forget a worker that ends in order."""
        ...

    def all(self) -> list[WorkerBeat]:
        """List them, the oldest first."""
        ...
