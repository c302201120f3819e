"""Putting dead letters back, in memory."""

from __future__ import annotations

from math import floor

from embedpipe.adapters.dead_letter_rules import (
    entry_not_found,
    not_approved,
    refuse,
    row_of,
    with_epoch,
)
from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_rows import DlqRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.adapters.memory.dlq_entries import job_state
from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EntryState, JobState, Worth, worth
from embedpipe.domain.jobs import JobStatus
from embedpipe.ports import OutboxRow
from embedpipe.ports.dlq_entries import Entry
from embedpipe.ports.requeues import Fresh, Grant, Opened


class MemoryRequeues:
    """`ports.Requeues` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def requeue(
        self, entry: Entry, act: Act, *, opened: Opened, fresh: Fresh, keeps: bool = False
    ) -> OutboxRow:
        """See `ports.Requeues.requeue`."""
        tenant_id = entry.tenant_id or act.actor.tenant_id
        with self._state.lock:
            found, job, judged = self._judged(entry)
            refuse(judged)
            row = None
            if job is not None and judged is Worth.RESTART:
                # Opened before anything is changed: there is no rollback here.
                if job.keeps_body(entry.stage):
                    opened(entry, found.entry.body)
                job, row = self._restart(entry.stage, entry.epoch or 0, job, fresh)
            if row is None:
                row = row_of(entry, job, opened(entry, found.entry.body), tenant_id)
            self._state.add_outbox([row])
            found.state = EntryState.QUARANTINED if keeps else EntryState.REQUEUED
            found.changed_by, found.changed_at = act.actor.name, self._state.now()
            write_down(self._state, act, "kept" if keeps else "requeued")
            return row

    def check(self, entry: Entry) -> None:
        """See `ports.Requeues.check`."""
        with self._state.lock:
            refuse(self._judged(entry)[2])

    def restart(self, stage: str, epoch: int, job: JobState, fresh: Fresh) -> OutboxRow | None:
        """See `ports.Requeues.restart`."""
        with self._state.lock:
            now = self._job(job.ref.tenant_id, job.ref.job_id)
            if worth(stage, job.ref.job_id, epoch, now) is not Worth.RESTART or now is None:
                return None
            _, row = self._restart(stage, epoch, now, fresh)
            if row is not None:
                self._state.add_outbox([row])
            return row

    def grant(self, stage: str, wanted: int, *, rate: float, burst: float) -> Grant:
        """See `ports.Requeues.grant`."""
        with self._state.lock:
            now = self._state.now()
            tokens, at = self._state.requeue_buckets.get(stage, (burst, now))
            tokens = min(burst, tokens + rate * max(0.0, (now - at).total_seconds()))
            granted = max(0, min(wanted, floor(tokens)))
            self._state.requeue_buckets[stage] = (tokens - granted, now)
            return Grant(granted, max(0.0, (1.0 - (tokens - granted)) / rate))

    def _judged(self, entry: Entry) -> tuple[DlqRow, JobState | None, Worth]:
        found = self._state.dlq_entries.get((entry.stage, entry.entry_id))
        if found is None:
            raise entry_not_found()
        if found.state is not EntryState.APPROVED:
            raise not_approved()
        new = found.entry
        job = self._job(new.tenant_id or "", new.job_id or "")
        return found, job, worth(new.stage, new.job_id, new.epoch, job)

    def _job(self, tenant_id: str, job_id: str) -> JobState | None:
        row = self._state.jobs.get((tenant_id, job_id))
        return job_state(self._state, row) if row else None

    def _restart(
        self, stage: str, epoch: int, job: JobState, fresh: Fresh
    ) -> tuple[JobState, OutboxRow | None]:
        keeps_body = job.keeps_body(stage)
        row = self._state.jobs[job.ref.tenant_id, job.ref.job_id]
        row.status, row.epoch = JobStatus.QUEUED, row.epoch + 1
        row.requeued_from = epoch if keeps_body else None
        row.attempts = row.rescues = 0
        row.error = row.chunks_total = row.tokens_total = row.cost_usd = None
        row.chunking_at = row.embedding_at = row.storing_at = row.finished_at = None
        row.touched_at = self._state.now()
        ledger = self._state.crash_ledger
        for key in [key for key in ledger if key.ref.job_id == row.job_id]:
            del ledger[key]
        again = with_epoch(job, row.epoch)
        return again, None if keeps_body else fresh(again.ref, again.traceparent)
