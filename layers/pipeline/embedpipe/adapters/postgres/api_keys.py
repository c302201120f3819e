"""API keys in PostgreSQL."""

from __future__ import annotations

from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.ports import Principal
from embedpipe.sql import statement


class PostgresApiKeys:
    """`ports.ApiKeys` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def find(self, key_id: str) -> tuple[Principal, bytes] | None:
        """See `ports.ApiKeys.find`."""
        if "\0" in key_id:
            return None
        with self._sessions.transaction() as connection:
            connection.execute(statement("api_keys", "name_key"), {"key_id": key_id})
            row = connection.execute(statement("api_keys", "find"), {"key_id": key_id}).fetchone()
        if row is None:
            return None
        return Principal(row["tenant_id"], row["role"], row["key_id"]), bytes(row["key_sha256"])
