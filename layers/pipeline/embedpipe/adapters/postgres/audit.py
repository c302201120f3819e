"""The audit log in PostgreSQL."""

from __future__ import annotations

from embedpipe.adapters.cursors import decode_audit_cursor, encode_audit_cursor
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.audit import MAX_NOTE, Act, AuditEntry
from embedpipe.ports import Page
from embedpipe.sql import statement


def write_down(connection: Connection, act: Act, result: str) -> None:
    """Write an act down, in a transaction of an operator: the one that does it."""
    connection.execute(
        statement("audit", "insert"),
        {
            "tenant_id": act.actor.tenant_id,
            "actor": act.actor.name,
            "action": act.action,
            "subject": act.subject,
            "result": result,
            "note": act.note[:MAX_NOTE],
        },
    )


class PostgresAudits:
    """`ports.Audits` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def list(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        action: str | None = None,
        actor: str | None = None,
    ) -> Page[AuditEntry]:
        """See `ports.Audits.list`."""
        parameters = {
            "before": decode_audit_cursor(cursor) if cursor else None,
            "action": action,
            "actor": actor,
            "limit": limit + 1,
        }
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(statement("audit", "list"), parameters).fetchall()
        items = [AuditEntry(**row) for row in rows[:limit]]
        more = len(rows) > limit and items
        return Page(items, encode_audit_cursor(items[-1].audit_id) if more else None)

    def write(self, act: Act, result: str) -> None:
        """See `ports.Audits.write`."""
        with self._sessions.transaction(act.actor.tenant_id, as_operator=True) as connection:
            write_down(connection, act, result)
