"""Jobs that operators take out, in memory."""

from __future__ import annotations

from datetime import timedelta

from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_rows import JobRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import Act
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import NotFoundError
from embedpipe.ports.skips import CLEARED, SKIPPED, Skip, Skipped


class MemorySkips:
    """`ports.Skips` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def skip(self, job_id: str, ttl_s: float, act: Act) -> Skipped:
        """See `ports.Skips.skip`."""
        with self._state.lock:
            row, now = self._find(job_id), self._state.now()
            expires_at = now + timedelta(seconds=ttl_s)
            skip = Skip(row.tenant_id, job_id, act.actor.name, now, expires_at)
            self._state.job_skips[row.tenant_id, job_id] = skip
            was_open = not row.status.is_terminal
            if was_open:
                self._state.finish(row, JobStatus.CANCELLED, SKIPPED)
            result = "cancelled" if was_open else f"already {row.status.value}"
            write_down(self._state, act, result)
            return Skipped(skip, row.status, was_open)

    def get(self, job_id: str) -> Skip | None:
        """See `ports.Skips.get`."""
        with self._state.lock:
            row = self._find(job_id)
            skip = self._state.job_skips.get((row.tenant_id, row.job_id))
            return skip if self._state.is_skipped(row) else None

    def cancel_open(
        self, tenant_id: str, act: Act, *, collection: str | None = None, limit: int = 100
    ) -> int:
        """See `ports.Skips.cancel_open`."""
        with self._state.lock:
            rows = [
                row
                for row in self._state.jobs.values()
                if row.tenant_id == tenant_id
                and not row.status.is_terminal
                and collection in (None, row.collection)
            ]
            rows = sorted(rows, key=lambda row: row.touched_at)[:limit]
            for row in rows:
                self._state.finish(row, JobStatus.CANCELLED, CLEARED)
            if rows:
                write_down(self._state, act, f"{len(rows)} cancelled")
            return len(rows)

    def remove_expired(self, limit: int = 1000) -> int:
        """See `ports.Skips.remove_expired`."""
        with self._state.lock:
            skips, now = self._state.job_skips, self._state.now()
            over = [key for key, skip in skips.items() if skip.expires_at <= now][:limit]
            for key in over:
                del skips[key]
            return len(over)

    def _find(self, job_id: str) -> JobRow:
        for row in self._state.jobs.values():
            if row.job_id == job_id:
                return row
        raise NotFoundError("there is no such job", code="JOB_NOT_FOUND")
