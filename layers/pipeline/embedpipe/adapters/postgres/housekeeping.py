"""Compaction and retention in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.domain.audit import Act
from embedpipe.ports.heartbeats import KEPT_BEATS, KEPT_S
from embedpipe.ports.housekeeping import Compacted, OldRecords, Removed
from embedpipe.sql import statement

#: Documents locked at once: who wants to change one of them waits for this transaction.
_DOCUMENTS = 20


class PostgresHousekeeping:
    """`ports.Housekeeping` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def begin(self, name: str, interval_s: float) -> str | None:
        """See `ports.Housekeeping.begin`."""
        parameters = {"name": name, "interval_s": interval_s}
        with self._sessions.transaction() as connection:
            row = connection.execute(statement("housekeeping", "begin"), parameters).fetchone()
        return None if row is None else str(row["cursor"])

    def save(self, name: str, cursor: str) -> None:
        """See `ports.Housekeeping.save`."""
        with self._sessions.transaction() as connection:
            connection.execute(statement("housekeeping", "save"), {"name": name, "cursor": cursor})

    def hide_deleted(self, *, grace_s: float, limit: int) -> int:
        """See `ports.Housekeeping.hide_deleted`."""
        parameters = {"grace_s": grace_s, "limit": limit}
        with self._sessions.transaction() as connection:
            return connection.execute(
                statement("housekeeping", "hide_deleted"), parameters
            ).rowcount

    def remove_hidden(self, *, limit: int) -> Compacted:
        """See `ports.Housekeeping.remove_hidden`."""
        with self._sessions.transaction() as connection:
            rows = connection.execute(
                statement("housekeeping", "take_compacting"), {"limit": _DOCUMENTS}
            ).fetchall()
            if not rows:
                return Compacted()
            documents: dict[str, Any] = {
                "tenant_ids": [row["tenant_id"] for row in rows],
                "collections": [row["collection"] for row in rows],
                "document_ids": [row["document_id"] for row in rows],
            }
            chunks = connection.execute(
                statement("housekeeping", "remove_chunks"), {**documents, "limit": limit}
            ).rowcount
            if chunks >= limit:
                return Compacted(chunks=chunks)
            connection.execute(statement("housekeeping", "end_compacting"), documents)
            return Compacted(len(rows), chunks)

    def unnamed(self, uris: Sequence[str]) -> set[str]:
        """See `ports.Housekeeping.unnamed`."""
        with self._sessions.transaction() as connection:
            role = connection.execute(statement("housekeeping", "sees_all")).fetchone()
            if not (role and role["sees_all"]):
                # Row-level security hides what names them, and all texts would be removed.
                raise RuntimeError("only the maintenance role sees what names a text")
            rows = connection.execute(statement("housekeeping", "unnamed"), {"uris": list(uris)})
            return {row["uri"] for row in rows}

    def finished(self, *, days: float, limit: int) -> list[tuple[str, str]]:
        """See `ports.Housekeeping.finished`."""
        parameters = {"days": days, "limit": limit}
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(statement("housekeeping", "finished"), parameters)
            return [(row["tenant_id"], str(row["job_id"])) for row in rows]

    def remove_finished(
        self,
        tenant_id: str,
        job_ids: Sequence[str],
        *,
        days: float,
        dry_run: bool = False,
        act: Act | None = None,
    ) -> Removed:
        """See `ports.Housekeeping.remove_finished`."""
        key: dict[str, Any] = {"tenant_id": tenant_id, "job_ids": list(job_ids), "days": days}
        with self._sessions.transaction(tenant_id, as_operator=act is not None) as connection:
            rows = connection.execute(statement("housekeeping", "lock_documents"), key).fetchall()
            key |= {
                "collections": [row["collection"] for row in rows],
                "document_ids": [row["document_id"] for row in rows],
            }
            jobs = connection.execute(statement("housekeeping", "remove_jobs"), key).rowcount
            versions = connection.execute(
                statement("housekeeping", "remove_versions"), key
            ).rowcount
            if dry_run:
                connection.rollback()
            elif act is not None and (jobs or versions):
                write_down(connection, act, f"{tenant_id}: {jobs} jobs, {versions} versions")
            return Removed(jobs, versions)

    def remove_records(self, *, audit_days: float, days: float, limit: int) -> OldRecords:
        """See `ports.Housekeeping.remove_records`."""
        parameters = {"audit_days": audit_days, "days": days, "limit": limit}
        parameters |= {"kept_s": KEPT_S, "kept_beats": KEPT_BEATS}
        counts = []
        for name in ("remove_audit", "remove_heartbeats", "remove_redrives"):
            with self._sessions.transaction() as connection:
                counts.append(
                    connection.execute(statement("housekeeping", name), parameters).rowcount
                )
        return OldRecords(*counts)
