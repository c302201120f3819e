"""Jobs that stopped moving, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_rows import JobRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import Act
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.ports import OutboxRow, Stalled


class MemoryRescues:
    """`ports.Rescues` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def stalled(
        self,
        statuses: Sequence[JobStatus],
        *,
        idle_s: float,
        is_queue_empty: bool,
        limit: int = 100,
    ) -> list[Stalled]:
        """See `ports.Rescues.stalled`."""
        with self._state.lock:
            found = [
                row
                for row in self._state.jobs.values()
                if row.status in statuses
                and not row.status.is_terminal
                and self._is_idle(row, idle_s)
                and (is_queue_empty or was_overtaken(self._state, row, _horizon_s(row, idle_s)))
            ]
            found.sort(key=lambda row: row.touched_at)
            return [
                Stalled(_ref(row), row.rescues, row.touched_at, row.traceparent)
                for row in found[:limit]
            ]

    def restart(
        self, job: Stalled, outbox: Callable[[JobRef], OutboxRow], act: Act | None = None
    ) -> OutboxRow | None:
        """See `ports.Rescues.restart`."""
        with self._state.lock:
            row = self._state.jobs.get((job.ref.tenant_id, job.ref.job_id))
            if row is None or row.status.is_terminal or self._state.is_skipped(row):
                return None
            if (_ref(row), row.touched_at) != (job.ref, job.touched_at):
                return None
            self._state.remove_version(row.tenant_id, row.collection, row.document_id, row.version)
            for batch in self._state.batches_of(row):
                del self._state.batches[batch.tenant_id, batch.job_id, batch.epoch, batch.batch_no]
            row.status, row.epoch = JobStatus.QUEUED, row.epoch + 1
            row.rescues = row.rescues + 1 if act is None else 0
            row.requeued_from = None
            row.chunks_total = row.tokens_total = row.cost_usd = None
            row.chunking_at = row.embedding_at = row.storing_at = None
            row.touched_at = self._state.now()
            message = outbox(replace(job.ref, epoch=row.epoch))
            self._state.add_outbox([message])
            if act is not None:
                write_down(self._state, act, f"restarted in epoch {row.epoch}")
            return message

    def _is_idle(self, row: JobRow, idle_s: float) -> bool:
        horizon = timedelta(seconds=_horizon_s(row, idle_s))
        if row.touched_at >= self._state.now() - horizon or self._state.is_skipped(row):
            return False
        return not any(
            entry.tenant_id == row.tenant_id and entry.message_key.startswith(row.job_id)
            for entry in self._state.outbox.values()
        )


def _horizon_s(row: JobRow, idle_s: float) -> float:
    return float(idle_s * 2 ** min(row.rescues, 16))


def was_overtaken(state: State, row: JobRow, by_s: float) -> bool:
    """Say whether a job that was admitted so long after another's last move is done before it."""
    after = row.touched_at + timedelta(seconds=by_s)
    return any(
        (other.tenant_id, other.collection) == (row.tenant_id, row.collection)
        and other.priority <= row.priority
        and other.created_at > after
        and other.status is JobStatus.SUCCEEDED
        for other in state.jobs.values()
    )


def _ref(row: JobRow) -> JobRef:
    return JobRef(
        tenant_id=row.tenant_id,
        job_id=row.job_id,
        epoch=row.epoch,
        collection=row.collection,
        document_id=row.document_id,
        version=row.version,
    )
