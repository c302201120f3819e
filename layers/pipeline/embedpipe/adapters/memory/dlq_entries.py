"""The mirror of the dead-letter queues in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from embedpipe.adapters.cursors import decode_dlq_cursor, encode_dlq_cursor
from embedpipe.adapters.dead_letter_rules import entry_not_found, requeued_already
from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_rows import DlqRow, JobRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EXPIRES_SOON, EntryState, JobState
from embedpipe.domain.jobs import JobRef
from embedpipe.ports import Page
from embedpipe.ports.dlq_entries import Entry, EntryFilter, Known, NewEntry, Seen

_STALE = timedelta(hours=1)


class MemoryDlqEntries:
    """`ports.DlqEntries` on a dictionary."""

    def __init__(self, state: State) -> None:
        self._state = state

    def known(self, stage: str) -> Known:
        """See `ports.DlqEntries.known`."""
        with self._state.lock:
            rows = _of(self._state, stage)
            requeued = sum(row.state is EntryState.REQUEUED for row in rows)
            oldest = min((row.seen_at for row in rows), default=self._state.now())
            return Known(len(rows) - requeued, requeued, oldest < self._state.now() - _STALE)

    def scan_began(self, stage: str, lasts_s: int) -> datetime:
        """See `ports.DlqEntries.scan_began`."""
        with self._state.lock:
            now = self._state.now()
            _, began = self._state.cursors.get(f"dlq.{stage}", ("", now))
            if began < now - timedelta(seconds=lasts_s):
                began = now
            self._state.cursors[f"dlq.{stage}"] = ("", began)
            return began

    def seen(self, stage: str, receive_counts: Mapping[str, int]) -> dict[str, Seen]:
        """See `ports.DlqEntries.seen`."""
        with self._state.lock:
            found = {}
            for entry_id, count in receive_counts.items():
                row = self._state.dlq_entries.get((stage, entry_id))
                if row is not None:
                    row.seen_at = self._state.now()
                    row.receive_count = max(row.receive_count, count)
                    found[entry_id] = Seen(row.state, row.changed_by != "")
            return found

    def states(self, stage: str, entry_ids: Sequence[str]) -> dict[str, EntryState]:
        """See `ports.DlqEntries.states`."""
        with self._state.lock:
            rows = {
                entry_id: self._state.dlq_entries.get((stage, entry_id)) for entry_id in entry_ids
            }
            return {entry_id: row.state for entry_id, row in rows.items() if row is not None}

    def add(self, entries: Sequence[NewEntry]) -> None:
        """See `ports.DlqEntries.add`."""
        with self._state.lock:
            now = self._state.now()
            for entry in entries:
                key = (entry.stage, entry.entry_id)
                new = DlqRow(entry, entry.receive_count, now, now, now)
                self._state.dlq_entries.setdefault(key, new).seen_at = now

    def forget(self, stage: str, entry_ids: Sequence[str]) -> None:
        """See `ports.DlqEntries.forget`."""
        with self._state.lock:
            for entry_id in entry_ids:
                self._state.dlq_entries.pop((stage, entry_id), None)

    def end_scan(self, stage: str, began: datetime, total: int) -> int:
        """See `ports.DlqEntries.end_scan`."""
        with self._state.lock:
            self._state.cursors.pop(f"dlq.{stage}", None)
            rows = _of(self._state, stage)
            gone = [row.entry.entry_id for row in rows if row.seen_at < began]
            if len(rows) - len(gone) < total:
                return 0
            self.forget(stage, gone)
            return len(gone)

    def remove_expired(self) -> int:
        """See `ports.DlqEntries.remove_expired`."""
        with self._state.lock:
            now = self._state.now()
            rows = self._state.dlq_entries
            gone = [key for key, row in rows.items() if row.entry.expires_at < now]
            for key in gone:
                del rows[key]
            return len(gone)

    def expiring(self) -> int:
        """See `ports.DlqEntries.expiring`."""
        with self._state.lock:
            return sum(
                self._expires_soon(row) and row.state is not EntryState.REQUEUED
                for row in self._state.dlq_entries.values()
            )

    def jobs(self, named: Sequence[tuple[str, str]]) -> dict[tuple[str, str], JobState]:
        """See `ports.DlqEntries.jobs`."""
        with self._state.lock:
            rows = {key: self._state.jobs.get(key) for key in named}
            return {key: job_state(self._state, row) for key, row in rows.items() if row}

    def get(self, stage: str, entry_id: str) -> Entry:
        """See `ports.DlqEntries.get`."""
        with self._state.lock:
            return self._read(stage, entry_id)

    def list(
        self, wanted: EntryFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Entry]:
        """See `ports.DlqEntries.list`."""
        after = decode_dlq_cursor(cursor) if cursor else None
        with self._state.lock:
            rows = sorted(
                _wanted(self._state, wanted), key=lambda row: (row.entry.stage, row.entry.entry_id)
            )
            rows.sort(key=lambda row: row.arrived_at, reverse=True)
            rows = [row for row in rows if after is None or _is_after(row, after)]
            page = [self._entry(row) for row in rows[:limit]]
        if len(rows) <= limit:
            return Page(page, None)
        last = page[-1]
        return Page(page, encode_dlq_cursor(last.arrived_at, last.stage, last.entry_id))

    def count(self, wanted: EntryFilter) -> int:
        """See `ports.DlqEntries.count`."""
        with self._state.lock:
            return len(_wanted(self._state, wanted))

    def decide(self, stage: str, entry_id: str, state: EntryState, act: Act) -> Entry:
        """See `ports.DlqEntries.decide`."""
        with self._state.lock:
            self._read(stage, entry_id)
            row = self._state.dlq_entries[stage, entry_id]
            if row.state is EntryState.REQUEUED:
                raise requeued_already()
            row.state, row.note, row.changed_by = state, act.note[:1000], act.actor.name
            row.changed_at = self._state.now()
            write_down(self._state, act, state.value)
            return self._entry(row)

    def withdraw(self, stage: str, entry_id: str) -> None:
        """See `ports.DlqEntries.withdraw`."""
        with self._state.lock:
            row = self._state.dlq_entries.get((stage, entry_id))
            if row is not None and row.state is EntryState.APPROVED:
                row.state, row.changed_at = EntryState.QUARANTINED, self._state.now()

    def _read(self, stage: str, entry_id: str) -> Entry:
        row = self._state.dlq_entries.get((stage, entry_id))
        if row is None:
            raise entry_not_found()
        return self._entry(row)

    def _entry(self, row: DlqRow) -> Entry:
        left_out = ("body", "attributes", "receive_count")
        given = {name: value for name, value in vars(row.entry).items() if name not in left_out}
        return Entry(
            **given,
            receive_count=row.receive_count,
            state=row.state,
            note=row.note,
            changed_by=row.changed_by,
            changed_at=row.changed_at,
            arrived_at=row.arrived_at,
            expires_soon=self._expires_soon(row),
        )

    def _expires_soon(self, row: DlqRow) -> bool:
        return row.entry.expires_at < self._state.now() + EXPIRES_SOON


def job_state(state: State, row: JobRow) -> JobState:
    """Read a job."""
    document = state.documents[row.tenant_id, row.collection, row.document_id]
    return JobState(
        ref=JobRef(
            tenant_id=row.tenant_id,
            job_id=row.job_id,
            epoch=row.epoch,
            collection=row.collection,
            document_id=row.document_id,
            version=row.version,
        ),
        status=row.status,
        requeued_from=row.requeued_from,
        is_chunked=row.chunks_total is not None,
        is_skipped=state.is_skipped(row),
        is_outdated=document.deleted_at is not None or row.version < document.latest_version,
        traceparent=row.traceparent,
    )


def _is_after(row: DlqRow, after: tuple[datetime, str, str]) -> bool:
    arrived_at, stage, entry_id = after
    if row.arrived_at != arrived_at:
        return row.arrived_at < arrived_at
    return (row.entry.stage, row.entry.entry_id) > (stage, entry_id)


def _of(state: State, stage: str) -> list[DlqRow]:
    return [row for row in state.dlq_entries.values() if row.entry.stage == stage]


def _wanted(state: State, wanted: EntryFilter) -> list[DlqRow]:
    return [
        row
        for row in state.dlq_entries.values()
        if wanted.stage in (None, row.entry.stage)
        and wanted.job_id in (None, row.entry.job_id)
        and wanted.error_code in (None, row.entry.error_code)
        and wanted.tenant_id in (None, row.entry.tenant_id)
        and wanted.state in (None, row.state)
    ]
