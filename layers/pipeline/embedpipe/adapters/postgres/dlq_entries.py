"""The mirror of the dead-letter queues in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from embedpipe.adapters.cursors import decode_dlq_cursor, encode_dlq_cursor
from embedpipe.adapters.dead_letter_rules import entry_not_found, requeued_already
from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.fences import is_job_id
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EXPIRES_SOON, EntryState, JobState
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.ports import Page
from embedpipe.ports.dlq_entries import Entry, EntryFilter, Known, NewEntry, Seen
from embedpipe.sql import statement


class PostgresDlqEntries:
    """`ports.DlqEntries` on PostgreSQL, in transactions of an operator."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def known(self, stage: str) -> Known:
        """See `ports.DlqEntries.known`."""
        with self._sessions.transaction(as_operator=True) as connection:
            row = connection.execute(statement("dlq_entries", "known"), {"stage": stage}).fetchone()
        return Known(**row) if row else Known()

    def scan_began(self, stage: str, lasts_s: int) -> datetime:
        """See `ports.DlqEntries.scan_began`."""
        parameters = {"name": _scan(stage), "lasts_s": lasts_s}
        with self._sessions.transaction(as_operator=True) as connection:
            row = connection.execute(statement("dlq_entries", "begin_scan"), parameters).fetchone()
        assert row is not None
        began: datetime = row["updated_at"]
        return began

    def seen(self, stage: str, receive_counts: Mapping[str, int]) -> dict[str, Seen]:
        """See `ports.DlqEntries.seen`."""
        parameters = {
            "stage": stage,
            "entry_ids": list(receive_counts),
            "counts": list(receive_counts.values()),
        }
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(statement("dlq_entries", "seen"), parameters).fetchall()
        return {row["entry_id"]: Seen(EntryState(row["state"]), row["is_decided"]) for row in rows}

    def states(self, stage: str, entry_ids: Sequence[str]) -> dict[str, EntryState]:
        """See `ports.DlqEntries.states`."""
        parameters = {"stage": stage, "entry_ids": list(entry_ids)}
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(statement("dlq_entries", "states"), parameters).fetchall()
        return {row["entry_id"]: EntryState(row["state"]) for row in rows}

    def add(self, entries: Sequence[NewEntry]) -> None:
        """See `ports.DlqEntries.add`."""
        if not entries:
            return
        rows = [vars(entry) | {"attributes": Jsonb(dict(entry.attributes))} for entry in entries]
        with self._sessions.transaction(as_operator=True) as connection:
            connection.cursor().executemany(statement("dlq_entries", "add"), rows)

    def forget(self, stage: str, entry_ids: Sequence[str]) -> None:
        """See `ports.DlqEntries.forget`."""
        if entry_ids:
            self._change("forget", {"stage": stage, "entry_ids": list(entry_ids)})

    def end_scan(self, stage: str, began: datetime, total: int) -> int:
        """See `ports.DlqEntries.end_scan`."""
        parameters = {"stage": stage, "name": _scan(stage), "began": began, "total": total}
        return self._change("forget_unseen", parameters)

    def remove_expired(self) -> int:
        """See `ports.DlqEntries.remove_expired`."""
        return self._change("remove_expired", {})

    def expiring(self) -> int:
        """See `ports.DlqEntries.expiring`."""
        with self._sessions.transaction(as_operator=True) as connection:
            return _count(connection, "expiring", {"soon": EXPIRES_SOON})

    def jobs(self, named: Sequence[tuple[str, str]]) -> dict[tuple[str, str], JobState]:
        """See `ports.DlqEntries.jobs`."""
        unique = sorted({pair for pair in named if is_job_id(pair[1])})
        if not unique:
            return {}
        parameters = {
            "tenant_ids": [tenant_id for tenant_id, _ in unique],
            "job_ids": [job_id for _, job_id in unique],
        }
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(statement("dlq_entries", "jobs"), parameters).fetchall()
        states = [job_state(row) for row in rows]
        return {(state.ref.tenant_id, state.ref.job_id): state for state in states}

    def get(self, stage: str, entry_id: str) -> Entry:
        """See `ports.DlqEntries.get`."""
        with self._sessions.transaction(as_operator=True) as connection:
            return read_entry(connection, stage, entry_id)

    def list(
        self, wanted: EntryFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Entry]:
        """See `ports.DlqEntries.list`."""
        before, stage, entry = decode_dlq_cursor(cursor) if cursor else (None, None, None)
        parameters = {
            **_filter(wanted),
            "before": before,
            "after_stage": stage,
            "after_entry": entry,
            "limit": limit + 1,
            "soon": EXPIRES_SOON,
        }
        if _matches_none(wanted):
            return Page([], None)
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(statement("dlq_entries", "list"), parameters).fetchall()
        items = [_entry(row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(items, _cursor(items[-1]) if more else None)

    def count(self, wanted: EntryFilter) -> int:
        """See `ports.DlqEntries.count`."""
        if _matches_none(wanted):
            return 0
        with self._sessions.transaction(as_operator=True) as connection:
            return _count(connection, "count", _filter(wanted))

    def decide(self, stage: str, entry_id: str, state: EntryState, act: Act) -> Entry:
        """See `ports.DlqEntries.decide`."""
        parameters = {
            "stage": stage,
            "entry_id": entry_id,
            "state": state.value,
            "note": act.note,
            "changed_by": act.actor.name,
        }
        with self._sessions.transaction(as_operator=True) as connection:
            read_entry(connection, stage, entry_id)
            done = connection.execute(statement("dlq_entries", "decide"), parameters)
            if done.rowcount == 0:
                raise requeued_already()
            write_down(connection, act, state.value)
            return read_entry(connection, stage, entry_id)

    def withdraw(self, stage: str, entry_id: str) -> None:
        """See `ports.DlqEntries.withdraw`."""
        self._change("withdraw", {"stage": stage, "entry_id": entry_id})

    def _change(self, name: str, parameters: dict[str, Any]) -> int:
        with self._sessions.transaction(as_operator=True) as connection:
            return connection.execute(statement("dlq_entries", name), parameters).rowcount


def read_entry(connection: Connection, stage: str, entry_id: str) -> Entry:
    """Read one. Raises NotFoundError (DLQ_ENTRY_NOT_FOUND)."""
    parameters = {"stage": stage, "entry_id": entry_id, "soon": EXPIRES_SOON}
    row = None
    if "\0" not in entry_id:
        row = connection.execute(statement("dlq_entries", "get"), parameters).fetchone()
    if row is None:
        raise entry_not_found()
    return _entry(row)


def job_state(row: Mapping[str, Any]) -> JobState:
    """Read a job."""
    return JobState(
        ref=JobRef(
            tenant_id=row["tenant_id"],
            job_id=str(row["job_id"]),
            epoch=row["epoch"],
            collection=row["collection"],
            document_id=row["document_id"],
            version=row["version"],
        ),
        status=JobStatus(row["status"]),
        requeued_from=row["requeued_from"],
        is_chunked=row["is_chunked"],
        is_skipped=row["is_skipped"],
        is_outdated=row["is_outdated"],
        traceparent=row["traceparent"],
    )


def _entry(row: dict[str, Any]) -> Entry:
    job_id = row["job_id"]
    also = {"state": EntryState(row["state"]), "job_id": str(job_id) if job_id else None}
    return Entry(**{**row, **also})


def _cursor(entry: Entry) -> str:
    return encode_dlq_cursor(entry.arrived_at, entry.stage, entry.entry_id)


def _scan(stage: str) -> str:
    return f"dlq.{stage}"


def _filter(wanted: EntryFilter) -> dict[str, Any]:
    return vars(wanted) | {"state": wanted.state.value if wanted.state else None}


def _matches_none(wanted: EntryFilter) -> bool:
    return wanted.job_id is not None and not is_job_id(wanted.job_id)


def _count(connection: Connection, name: str, parameters: dict[str, Any]) -> int:
    row = connection.execute(statement("dlq_entries", name), parameters).fetchone()
    return int(row["entries"]) if row else 0
