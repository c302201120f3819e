"""Jobs that operators take out, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.fences import is_job_id, lock_document, stop_jobs
from embedpipe.adapters.postgres.job_reading import job_not_found
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.audit import Act
from embedpipe.domain.jobs import JobStatus
from embedpipe.ports.skips import CLEARED, SKIPPED, Skip, Skipped
from embedpipe.sql import statement


class PostgresSkips:
    """`ports.Skips` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def skip(self, job_id: str, ttl_s: float, act: Act) -> Skipped:
        """See `ports.Skips.skip`."""
        found = self._find(job_id)
        values = {**found, "created_by": act.actor.name, "ttl_s": ttl_s}
        with self._sessions.transaction(found["tenant_id"], as_operator=True) as connection:
            # It may have gone since it was found.
            if not lock_document(connection, found):
                raise job_not_found()
            row = connection.execute(statement("skips", "put"), values).fetchone()
            if row is None:
                raise job_not_found()
            cancelled = stop_jobs(connection, found, JobStatus.CANCELLED, SKIPPED)
            job = connection.execute(statement("skips", "status"), found).fetchone()
            assert job is not None
            status = JobStatus(job["status"])
            write_down(connection, act, "cancelled" if cancelled else f"already {status.value}")
        return Skipped(_skip(row), status, bool(cancelled))

    def get(self, job_id: str) -> Skip | None:
        """See `ports.Skips.get`."""
        found = self._find(job_id)
        with self._sessions.transaction(found["tenant_id"]) as connection:
            row = connection.execute(statement("skips", "active"), found).fetchone()
        return None if row is None else _skip(row)

    def cancel_open(
        self, tenant_id: str, act: Act, *, collection: str | None = None, limit: int = 100
    ) -> int:
        """See `ports.Skips.cancel_open`."""
        wanted = {"tenant_id": tenant_id, "collection": collection, "limit": limit}
        with self._sessions.transaction(tenant_id, as_operator=True) as connection:
            rows = connection.execute(statement("skips", "lock_open"), wanted).fetchall()
            values = {
                "tenant_id": tenant_id,
                "job_ids": [row["job_id"] for row in rows],
                "error_code": CLEARED.code,
                "failure_type": CLEARED.failure_type,
                "error_message": CLEARED.message,
            }
            cancelled = connection.execute(statement("skips", "clear"), values).rowcount
            if cancelled:
                write_down(connection, act, f"{cancelled} cancelled")
        return cancelled

    def remove_expired(self, limit: int = 1000) -> int:
        """See `ports.Skips.remove_expired`."""
        with self._sessions.transaction() as connection:
            return connection.execute(
                statement("skips", "remove_expired"), {"limit": limit}
            ).rowcount

    def _find(self, job_id: str) -> dict[str, Any]:
        if not is_job_id(job_id):
            raise job_not_found()
        with self._sessions.transaction(as_operator=True) as connection:
            row = connection.execute(statement("skips", "find"), {"job_id": job_id}).fetchone()
        if row is None:
            raise job_not_found()
        return row


def cancel_skipped(connection: Connection, tenant_id: str, job_ids: Sequence[str]) -> None:
    """Cancel those of some unwanted jobs that are open although they are skipped."""
    rows = connection.execute(
        statement("skips", "open_again"), {"tenant_id": tenant_id, "job_ids": list(job_ids)}
    ).fetchall()
    for row in rows:
        # The message is gone after this, so the commit must not be lost either.
        connection.execute(statement("sessions", "be_durable"))
        if lock_document(connection, row):
            stop_jobs(connection, row, JobStatus.CANCELLED, SKIPPED)


def _skip(row: dict[str, Any]) -> Skip:
    return Skip(**{**row, "job_id": str(row["job_id"])})
