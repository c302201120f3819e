"""The transactional outbox in PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.ports import OutboxRow
from embedpipe.sql import statement


def insert_outbox(connection: Connection, tenant_id: str, rows: Sequence[OutboxRow]) -> None:
    """Write outbox rows of one tenant, in the transaction of the change they belong to."""
    if not rows:
        return
    columns = {
        "tenant_id": tenant_id,
        "queues": [row.queue for row in rows],
        "keys": [row.key for row in rows],
        "bodies": [row.body for row in rows],
    }
    connection.execute(statement("outbox", "insert"), columns)


class PostgresOutboxRows:
    """`ports.OutboxRows` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def sent(self, rows: Sequence[OutboxRow]) -> None:
        """See `ports.OutboxRows.sent`.

        A crash of the server may bring rows back: they are sent again, to no effect.
        """
        keys: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in rows:
            keys[row.tenant_id, row.queue].append(row.key)
        for (tenant_id, queue), of_queue in keys.items():
            parameters = {"tenant_id": tenant_id, "queue": queue, "keys": of_queue}
            with self._sessions.transaction(tenant_id, durable=False) as connection:
                connection.execute(statement("outbox", "remove"), parameters)

    def claim(self, limit: int = 100, claim_s: int = 30) -> list[OutboxRow]:
        """See `ports.OutboxRows.claim`."""
        with self._sessions.transaction() as connection:
            rows = connection.execute(
                statement("outbox", "claim"), {"limit": limit, "claim_s": claim_s}
            ).fetchall()
        return [
            OutboxRow(row["tenant_id"], row["queue"], row["message_key"], row["body"])
            for row in rows
        ]
