"""Stuck jobs: which count as such at this moment, and how an operator starts them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from embedpipe.domain.audit import Act
from embedpipe.domain.controls import STAGES, StageState
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import QueueUnavailableError, StoreUnavailableError
from embedpipe.ports import Database, Outbox, OutboxRow
from embedpipe.ports.overview import STAGE_OF, Idle, OperatorJob
from embedpipe.stages.relay import relay
from embedpipe.stages.snapshot import QUEUES_OF, Sources
from embedpipe.stages.submit import CHUNK_QUEUE, chunk_requested

#: The stages that jobs of a stage still need: a job in `embed` has batches in both queues.
_NEEDED = {"chunk": ("chunk",), "embed": ("embed", "store"), "store": ("embed", "store")}
#: So many jobs may be found locked before it is given up.
_MAX_ERRORS = 3


@dataclass(frozen=True)
class Reset:
    """Jobs that were found, that started again, and those that were not to be."""

    matched: Sequence[str] = ()
    restarted: Sequence[str] = ()

    @property
    def refused(self) -> int:
        """Those that moved meanwhile, are skipped, or were being worked on."""
        return len(self.matched) - len(self.restarted)


def idle_jobs(sources: Sources, idle_s: float) -> Idle:
    """Say which jobs count as stuck: of no stage that is paused; late where a queue has messages.

    Raises
    ------
    StoreUnavailableError, QueueUnavailableError
        What is paused, or waits, cannot be said: nothing counts as stuck on a guess.
    """
    paused = {
        control.stage
        for control in sources.database.controls.all()
        if control.state is StageState.PAUSED
    }
    # A lane without a queue of its own is not among them.
    waiting = {
        stage: any(
            sources.queues[name].depths().total
            for name in QUEUES_OF[stage]
            if name in sources.queues
        )
        for stage in STAGES
    }
    return Idle(
        idle_s=idle_s,
        statuses=_statuses(lambda stage: stage not in paused),
        emptied=_statuses(lambda stage: not waiting[stage]),
    )


def _statuses(holds: Callable[[str], bool]) -> tuple[JobStatus, ...]:
    """Give the statuses whose jobs need only stages for which something holds."""
    return tuple(status for status, stage in STAGE_OF.items() if all(map(holds, _NEEDED[stage])))


def find_stuck(
    database: Database, idle: Idle, *, tenant_id: str | None, limit: int
) -> list[OperatorJob]:
    """Give up to so many stuck jobs, the longest unmoved first."""
    found: list[OperatorJob] = []
    cursor = None
    while len(found) < limit:
        page = database.overview.stuck(
            idle, tenant_id=tenant_id, limit=min(100, limit - len(found)), cursor=cursor
        )
        found += page.items
        cursor = page.cursor
        if cursor is None:
            break
    return found


def reset_stuck(
    found: Sequence[OperatorJob],
    *,
    database: Database,
    chunk_queue: Outbox,
    act: Act,
    has_time: Callable[[], bool] = lambda: True,
) -> Reset:
    """Start jobs again, each in a transaction that writes it down.

    A job that moved since it was found, or that somebody holds, is left alone; the fence makes what
    is left of an earlier try harmless. Rows that cannot be sent now are left to the sweep.
    """
    rows: list[OutboxRow] = []
    restarted: list[str] = []
    errors = 0
    for one in found:
        if errors == _MAX_ERRORS or not has_time():
            break
        try:
            row = database.rescues.restart(
                one.stalled,
                lambda ref, trace=one.traceparent: chunk_requested(ref, trace),  # type: ignore[misc]
                act=replace(act, subject=one.job.job_id),
            )
        except StoreUnavailableError:
            errors += 1
            continue
        if row is not None:
            rows.append(row)
            restarted.append(one.job.job_id)
    with suppress(QueueUnavailableError, StoreUnavailableError):
        relay(rows, outbox=database.outbox, queues={CHUNK_QUEUE: chunk_queue})
    return Reset([one.job.job_id for one in found], restarted)
