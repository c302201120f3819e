"""Port to jobs that stopped moving: their message is lost, by the queue or by its receives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from embedpipe.domain.audit import Act
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.ports.jobs import OutboxRow


@dataclass(frozen=True)
class Stalled:
    """A job that did not move for long, as it was when that was seen."""

    ref: JobRef
    rescues: int
    touched_at: datetime
    traceparent: str | None


class Rescues(Protocol):
    """Finds and restarts jobs, of all tenants. Needs the maintenance role."""

    def stalled(
        self,
        statuses: Sequence[JobStatus],
        *,
        idle_s: float,
        is_queue_empty: bool,
        limit: int = 100,
    ) -> list[Stalled]:
        """Give jobs in some statuses that moved last `idle_s * 2 ** rescues` ago or longer.

        Late is not lost: only those of which nothing waits in the outbox, which no skip holds, and
        only where the queues of the statuses are empty, or where another job that was admitted as
        long after the job's last move has succeeded meanwhile: one to the same collection, and so
        of the same model and provider, and no more urgent, which may overtake by its lane. Queues
        are in order but roughly, and a retry waits for its turn.
        """
        ...

    def restart(
        self, job: Stalled, outbox: Callable[[JobRef], OutboxRow], act: Act | None = None
    ) -> OutboxRow | None:
        """Open a new epoch: the job is `queued` again, what it stored is gone, the row is written.

        None, and nothing written, when the job has moved since it was seen, or a skip holds it.

        Parameters
        ----------
        act
            An operator's, written down in the same transaction: rescues then count anew.
        """
        ...
