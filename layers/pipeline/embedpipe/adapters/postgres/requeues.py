"""Putting dead letters back, in PostgreSQL."""

from __future__ import annotations

from typing import Any

from embedpipe.adapters.dead_letter_rules import (
    entry_not_found,
    not_approved,
    refuse,
    row_of,
    with_epoch,
)
from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.dlq_entries import job_state, read_entry
from embedpipe.adapters.postgres.fences import fence
from embedpipe.adapters.postgres.outbox import insert_outbox
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EntryState, JobState, Worth, worth
from embedpipe.ports import OutboxRow
from embedpipe.ports.dlq_entries import Entry
from embedpipe.ports.requeues import Fresh, Grant, Opened
from embedpipe.sql import statement


class PostgresRequeues:
    """`ports.Requeues` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def requeue(
        self, entry: Entry, act: Act, *, opened: Opened, fresh: Fresh, keeps: bool = False
    ) -> OutboxRow:
        """See `ports.Requeues.requeue`."""
        tenant_id = entry.tenant_id or act.actor.tenant_id
        with self._sessions.transaction(tenant_id, as_operator=True) as connection:
            body, job, judged = _judged(connection, entry)
            refuse(judged)
            row = None
            if job is not None and judged is Worth.RESTART:
                job, row = _restart(connection, entry.stage, entry.epoch or 0, job, fresh)
            if row is None:
                row = row_of(entry, job, opened(entry, body), tenant_id)
            insert_outbox(connection, tenant_id, [row])
            state = EntryState.QUARANTINED if keeps else EntryState.REQUEUED
            parameters = {
                "stage": entry.stage,
                "entry_id": entry.entry_id,
                "state": state.value,
                "changed_by": act.actor.name,
            }
            connection.execute(statement("requeues", "put_back"), parameters)
            write_down(connection, act, "kept" if keeps else "requeued")
            return row

    def check(self, entry: Entry) -> None:
        """See `ports.Requeues.check`."""
        with self._sessions.transaction(entry.tenant_id or "", as_operator=True) as connection:
            refuse(_judged(connection, entry)[2])

    def restart(self, stage: str, epoch: int, job: JobState, fresh: Fresh) -> OutboxRow | None:
        """See `ports.Requeues.restart`."""
        key = {"tenant_id": job.ref.tenant_id, "job_id": job.ref.job_id}
        with self._sessions.transaction(job.ref.tenant_id) as connection:
            now = _locked_job(connection, key)
            if worth(stage, job.ref.job_id, epoch, now) is not Worth.RESTART or now is None:
                return None
            _, row = _restart(connection, stage, epoch, now, fresh)
            if row is not None:
                insert_outbox(connection, job.ref.tenant_id, [row])
            return row

    def grant(self, stage: str, wanted: int, *, rate: float, burst: float) -> Grant:
        """See `ports.Requeues.grant`."""
        parameters = {"stage": stage, "wanted": wanted, "rate": rate, "burst": burst}
        with self._sessions.transaction(durable=False) as connection:
            connection.execute(statement("requeues", "fill_bucket"), parameters)
            row = connection.execute(statement("requeues", "take"), parameters).fetchone()
        assert row is not None
        return Grant(row["granted"], max(0.0, (1.0 - row["tokens"]) / rate))


def _judged(connection: Connection, entry: Entry) -> tuple[bytes, JobState | None, Worth]:
    """Lock an approved entry and its job, and judge what the message is worth."""
    key = {"stage": entry.stage, "entry_id": entry.entry_id}
    locked = connection.execute(statement("requeues", "lock_entry"), key).fetchone()
    if locked is None:
        raise entry_not_found()
    if locked["state"] != EntryState.APPROVED:
        raise not_approved()
    now = read_entry(connection, entry.stage, entry.entry_id)
    job = None
    if now.tenant_id is not None and now.job_id is not None:
        job = _locked_job(connection, {"tenant_id": now.tenant_id, "job_id": now.job_id})
    return locked["body"], job, worth(now.stage, now.job_id, now.epoch, job)


def _locked_job(connection: Connection, key: dict[str, str]) -> JobState | None:
    document = connection.execute(statement("requeues", "lock_document"), key).fetchone()
    if document is None:
        return None
    row = connection.execute(statement("requeues", "lock_job"), {**key, **document}).fetchone()
    return job_state(row) if row else None


def _restart(
    connection: Connection, stage: str, epoch: int, job: JobState, fresh: Fresh
) -> tuple[JobState, OutboxRow | None]:
    """Open a new epoch of a locked job that failed; the row, unless its own message is taken."""
    keeps_body = job.keeps_body(stage)
    parameters: dict[str, Any] = {
        **fence(job.ref),
        "requeued_from": epoch if keeps_body else None,
    }
    row = connection.execute(statement("requeues", "restart"), parameters).fetchone()
    assert row is not None, "the job is locked"
    connection.execute(statement("chunks", "remove_version"), parameters)
    connection.execute(statement("rescues", "remove_batches"), parameters)
    again = with_epoch(job, row["epoch"])
    return again, None if keeps_body else fresh(again.ref, again.traceparent)
