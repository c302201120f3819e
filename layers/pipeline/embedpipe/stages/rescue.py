"""Rescue: jobs whose message the queue lost, or that spent its receives, start again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.ports import Database, Outbox, OutboxRow, Stalled
from embedpipe.stages.relay import relay
from embedpipe.stages.submit import CHUNK_QUEUE, chunk_requested

#: The queues that hold the messages of jobs in some statuses.
_QUEUES = {
    (JobStatus.QUEUED, JobStatus.CHUNKING): (CHUNK_QUEUE,),
    (JobStatus.EMBEDDING, JobStatus.STORING): (*EMBED_QUEUES.values(), "store"),
}
_SPENT = JobError(
    "RESCUES_SPENT", "transient", "the job stopped moving again and again; see the DLQ"
)


@dataclass(frozen=True)
class Rescued:
    """How many jobs started again, and how many failed because that had not helped before."""

    restarted: int = 0
    failed: int = 0


def rescue(
    *,
    database: Database,
    queues: Mapping[str, Outbox],
    idle_s: float,
    max_rescues: int,
    limit: int = 100,
) -> Rescued:
    """Start jobs again that stopped moving; the fence makes whatever is left of them harmless.

    Parameters
    ----------
    idle_s
        How long a job must not have moved; doubled by each rescue of it.
    max_rescues
        After so many the job fails with RESCUES_SPENT.

    Raises
    ------
    QueueUnavailableError, StoreUnavailableError
        The rest waits for the next run; rows that are not sent wait for the sweep.
    """
    rows: list[OutboxRow] = []
    failed = 0
    for statuses, names in _QUEUES.items():
        # Several names may stand for one queue: a lane need not have its own.
        is_empty = not any(queue.backlog() for queue in {queues[name] for name in names})
        for job in database.rescues.stalled(
            statuses, idle_s=idle_s, is_queue_empty=is_empty, limit=limit
        ):
            if job.rescues >= max_rescues:
                failed += database.jobs.fail(job.ref, _SPENT)
            elif row := _restart(job, database):
                rows.append(row)
    relay(rows, outbox=database.outbox, queues=queues)
    return Rescued(len(rows), failed)


def _restart(job: Stalled, database: Database) -> OutboxRow | None:
    return database.rescues.restart(job, lambda ref: chunk_requested(ref, job.traceparent))
