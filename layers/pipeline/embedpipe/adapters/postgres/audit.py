"""The audit log in PostgreSQL."""

from __future__ import annotations

from embedpipe.adapters.postgres.sessions import Connection
from embedpipe.domain.audit import Act
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
            "note": act.note,
        },
    )
