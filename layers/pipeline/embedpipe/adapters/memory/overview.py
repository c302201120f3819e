"""What is read across tenants, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from embedpipe.adapters.cursors import decode_job_cursor, encode_job_cursor
from embedpipe.adapters.memory.database_reading import read_job
from embedpipe.adapters.memory.database_rescues import was_overtaken
from embedpipe.adapters.memory.database_rows import JobRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.adapters.memory.durations import since, spread
from embedpipe.domain.controls import STAGES
from embedpipe.domain.jobs import JobStatus
from embedpipe.ports import Page
from embedpipe.ports.overview import (
    STAGE_OF,
    Counts,
    Figures,
    Idle,
    OpenWork,
    OperatorJob,
    View,
)


def _finished(row: JobRow) -> datetime:
    assert row.finished_at is not None
    return row.finished_at


#: The name of a view in its cursors, what orders it, and whether the last comes first.
_VIEWS: dict[View, tuple[str, Callable[[JobRow], datetime], bool]] = {
    View.RECENT: ("recent", lambda row: row.created_at, True),
    View.FAILED: ("failed", _finished, True),
    View.OPEN: ("unfinished", lambda row: row.touched_at, False),
}


class MemoryOverview:
    """`ports.Overview` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def open_work(self) -> OpenWork:
        """See `ports.Overview.open_work`."""
        with self._state.lock:
            statuses, ages_s = dict.fromkeys(STAGE_OF, 0), dict.fromkeys(STAGES, 0.0)
            for row in self._state.jobs.values():
                if not row.status.is_terminal:
                    statuses[row.status] += 1
                    stage = STAGE_OF[row.status]
                    ages_s[stage] = max(ages_s[stage], self._age_s(_entered(row)))
            born = [entry.created_at for entry in self._state.outbox.values()]
            return OpenWork(statuses, ages_s, len(born), self._age_s(min(born)) if born else 0.0)

    def counts(self, window_s: float) -> dict[str, Counts]:
        """See `ports.Overview.counts`."""
        with self._state.lock:
            start = self._state.now() - timedelta(seconds=window_s)
            moved = self._moved(start)
            failed = Counter(
                self._failed_in(row) for row in moved if row.status is JobStatus.FAILED
            )
            left = {
                "chunk": since(start, (row.embedding_at for row in moved)),
                "embed": since(start, (row.storing_at for row in moved)),
                "store": sum(row.status is JobStatus.SUCCEEDED for row in moved),
            }
            return {stage: Counts(left[stage], failed[stage]) for stage in STAGES}

    def arrivals(self, window_s: float) -> dict[str, int]:
        """See `ports.Overview.arrivals`."""
        with self._state.lock:
            start = self._state.now() - timedelta(seconds=window_s)
            letters = self._state.dlq_entries.values()
            seen = Counter(row.entry.stage for row in letters if row.arrived_at >= start)
        return {stage: seen[stage] for stage in STAGES}

    def figures(self, window_s: float) -> Figures:
        """See `ports.Overview.figures`."""
        with self._state.lock:
            start = self._state.now() - timedelta(seconds=window_s)
            moved = self._moved(start)
            done = [row for row in moved if row.status is JobStatus.SUCCEEDED]
            ended = Counter(row.status for row in moved)
            chunked = [r for r in moved if r.embedding_at and r.embedding_at >= start]
            stored = [r for r in moved if r.storing_at and r.storing_at >= start]
            return Figures(
                counts=self.counts(window_s),
                latency_s={
                    "chunk": spread((r.created_at, r.embedding_at) for r in chunked),
                    "embed": spread((r.embedding_at, r.storing_at) for r in stored),
                    "store": spread((r.storing_at, r.finished_at) for r in done),
                },
                job_latency_s=spread((r.created_at, r.finished_at) for r in done),
                succeeded=len(done),
                failed=ended[JobStatus.FAILED],
                cancelled=ended[JobStatus.CANCELLED],
                tokens=sum(row.tokens_total or 0 for row in done),
                cost_usd=sum(row.cost_usd or 0.0 for row in done),
            )

    def jobs(
        self,
        view: View,
        *,
        tenant_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OperatorJob]:
        """See `ports.Overview.jobs`."""
        wanted: dict[View, Callable[[JobRow], bool]] = {
            View.RECENT: lambda _: True,
            View.FAILED: lambda row: row.status is JobStatus.FAILED,
            View.OPEN: lambda row: not row.status.is_terminal,
        }
        with self._state.lock:
            rows = [row for row in self._state.jobs.values() if wanted[view](row)]
            return self._page(rows, _VIEWS[view], tenant_id, limit, cursor)

    def stuck(
        self,
        idle: Idle,
        *,
        tenant_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OperatorJob]:
        """See `ports.Overview.stuck`."""
        order = ("stuck", _VIEWS[View.OPEN][1], False)
        with self._state.lock:
            rows = [row for row in self._state.jobs.values() if self._is_stuck(row, idle)]
            return self._page(rows, order, tenant_id, limit, cursor)

    def open_by_tenant(
        self, *, tenant_id: str | None = None, collection: str | None = None
    ) -> dict[str, int]:
        """See `ports.Overview.open_by_tenant`."""
        with self._state.lock:
            found = Counter(
                row.tenant_id
                for row in self._state.jobs.values()
                if not row.status.is_terminal
                and tenant_id in (None, row.tenant_id)
                and collection in (None, row.collection)
            )
        return dict(sorted(found.items()))

    def _page(
        self,
        rows: Iterable[JobRow],
        order: tuple[str, Callable[[JobRow], datetime], bool],
        tenant_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page[OperatorJob]:
        name, moment, is_descending = order
        after = decode_job_cursor(cursor, name) if cursor else None
        found = sorted(
            (row for row in rows if tenant_id in (None, row.tenant_id)),
            key=lambda row: (moment(row), row.job_id),
            reverse=is_descending,
        )
        if after is not None:
            found = [
                row
                for row in found
                if (moment(row), row.job_id) != after
                and ((moment(row), row.job_id) < after) is is_descending
            ]
        items = [self._seen(row) for row in found[:limit]]
        if len(found) <= limit or not items:
            return Page(items, None)
        last = found[limit - 1]
        return Page(items, encode_job_cursor(moment(last), last.job_id, name))

    def _seen(self, row: JobRow) -> OperatorJob:
        job = replace(read_job(self._state, row), metadata={})
        return OperatorJob(job, row.rescues, row.touched_at, row.traceparent)

    def _is_stuck(self, row: JobRow, idle: Idle) -> bool:
        if row.status.is_terminal or row.status not in idle.statuses:
            return False
        if self._age_s(row.touched_at) <= idle.idle_s or self._state.is_skipped(row):
            return False
        if any(
            entry.tenant_id == row.tenant_id and entry.message_key.startswith(row.job_id)
            for entry in self._state.outbox.values()
        ):
            return False
        return row.status in idle.emptied or was_overtaken(self._state, row, idle.idle_s)

    def _moved(self, start: datetime) -> list[JobRow]:
        return [
            row
            for row in self._state.jobs.values()
            if (row.finished_at if row.status.is_terminal else row.touched_at) >= start  # type: ignore[operator]
        ]

    def _failed_in(self, row: JobRow) -> str:
        letters = [
            letter
            for letter in self._state.dlq_entries.values()
            if (letter.entry.job_id, letter.entry.epoch) == (row.job_id, row.epoch)
        ]
        if letters:
            return min(letters, key=lambda letter: letter.arrived_at).entry.stage
        if row.storing_at is not None:
            return "store"
        return "chunk" if row.embedding_at is None else "embed"

    def _age_s(self, moment: datetime) -> float:
        return max((self._state.now() - moment).total_seconds(), 0.0)


def _entered(row: JobRow) -> datetime:
    """Say since when a job has been in its stage."""
    if row.status is JobStatus.EMBEDDING:
        return row.embedding_at or row.touched_at
    if row.status is JobStatus.STORING:
        return row.storing_at or row.touched_at
    return row.touched_at if row.rescues else row.created_at
