"""Rescue: jobs whose message the queue lost, or that spent its receives, start again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from embedpipe.domain.controls import STAGES, Control, StageState
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import Database, Outbox, OutboxRow, Stalled
from embedpipe.stages.relay import relay
from embedpipe.stages.submit import CHUNK_QUEUE, chunk_requested


@dataclass(frozen=True)
class _Waiting:
    """Jobs that wait for the same: their statuses, the queues of these, the stages they need."""

    statuses: tuple[JobStatus, ...]
    queues: tuple[str, ...]
    stages: tuple[str, ...]


_WAITING = (
    _Waiting((JobStatus.QUEUED, JobStatus.CHUNKING), (CHUNK_QUEUE,), (CHUNK_QUEUE,)),
    _Waiting((JobStatus.EMBEDDING, JobStatus.STORING), (*EMBED_QUEUES.values(), "store"), STAGES),
)
_SPENT = JobError(
    "RESCUES_SPENT", "transient", "the job stopped moving again and again; see the DLQ"
)
#: So many jobs in a run may fail to be restarted, each perhaps by a lock that times out.
_MAX_ERRORS = 3


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
    has_time: Callable[[], bool] = lambda: True,
) -> Rescued:
    """Start jobs again that stopped moving; the fence makes whatever is left of them harmless.

    Late is not lost: jobs that need a stage which is paused, or was until lately, are left alone.

    Parameters
    ----------
    idle_s
        How long a job must not have moved; doubled by each rescue of it. And how long a stage must
        have been let work.
    max_rescues
        After so many the job fails with RESCUES_SPENT.
    limit
        Jobs that are looked at in one run, of each kind.

    Raises
    ------
    QueueUnavailableError, StoreUnavailableError
        The rest waits for the next run; rows that are not sent wait for the sweep.
    """
    resting = {control.stage for control in database.controls.all() if _rests(control, idle_s)}
    rows: list[OutboxRow] = []
    errors: list[StoreUnavailableError] = []
    failed = 0
    for waiting in _WAITING:
        if resting & set(waiting.stages):
            continue
        # Several names may stand for one queue: a lane need not have its own.
        is_empty = not any(queue.backlog() for queue in {queues[name] for name in waiting.queues})
        for job in database.rescues.stalled(
            waiting.statuses, idle_s=idle_s, is_queue_empty=is_empty, limit=limit
        ):
            if len(errors) == _MAX_ERRORS or not has_time():
                break
            try:
                if job.rescues >= max_rescues:
                    failed += database.jobs.fail(job.ref, _SPENT)
                elif row := _restart(job, database):
                    rows.append(row)
            except StoreUnavailableError as error:
                # Somebody holds the document, perhaps; those after it need not wait for that.
                errors.append(error)
    return _finish(Rescued(len(rows), failed), rows, errors, database, queues)


def _rests(control: Control, idle_s: float) -> bool:
    return control.state is StageState.PAUSED or control.for_s < idle_s


def _restart(job: Stalled, database: Database) -> OutboxRow | None:
    return database.rescues.restart(job, lambda ref: chunk_requested(ref, job.traceparent))


def _finish(
    rescued: Rescued,
    rows: Sequence[OutboxRow],
    errors: Sequence[StoreUnavailableError],
    database: Database,
    queues: Mapping[str, Outbox],
) -> Rescued:
    relay(rows, outbox=database.outbox, queues=queues)
    if errors:
        raise errors[0]
    return rescued
