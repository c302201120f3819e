"""Collections in PostgreSQL."""

from __future__ import annotations

from typing import Any

from psycopg import errors

from embedpipe.adapters.cursors import decode_cursor, encode_cursor
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.errors import ConflictError, NotFoundError
from embedpipe.ports import Collection, CollectionStatistics, ModelInfo, Page
from embedpipe.sql import statement


def collection_not_found() -> NotFoundError:
    """Give the error for a collection that is not there, or is another tenant's."""
    return NotFoundError("there is no such collection", code="COLLECTION_NOT_FOUND")


def read_collection(connection: Connection, tenant_id: str, collection: str) -> Collection:
    """Read one. Raises NotFoundError (COLLECTION_NOT_FOUND)."""
    key = {"tenant_id": tenant_id, "collection": collection}
    row = connection.execute(statement("collections", "read"), key).fetchone()
    if row is None:
        raise collection_not_found()
    return Collection(**row)


def insert_collection(
    connection: Connection, tenant_id: str, collection: str, model: ModelInfo, description: str
) -> dict[str, Any] | None:
    """Write one unless there is one of that name; None then."""
    parameters = {
        "tenant_id": tenant_id,
        "collection": collection,
        "model_id": model.model_id,
        "fingerprint": model.fingerprint,
        "dimensions": model.dimensions,
        "description": description,
        "price": model.price_usd_per_million_tokens,
    }
    return connection.execute(statement("collections", "insert"), parameters).fetchone()


class PostgresCollections:
    """`ports.Collections` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def create(
        self, tenant_id: str, collection: str, model: ModelInfo, description: str
    ) -> Collection:
        """See `ports.Collections.create`."""
        with self._sessions.transaction(tenant_id) as connection:
            try:
                row = insert_collection(connection, tenant_id, collection, model, description)
            except errors.ForeignKeyViolation:
                raise NotFoundError("there is no such tenant", code="TENANT_NOT_FOUND") from None
            if row is None:
                raise ConflictError("the collection exists", code="COLLECTION_EXISTS")
            return Collection(**row)

    def get(self, tenant_id: str, collection: str) -> Collection:
        """See `ports.Collections.get`."""
        with self._sessions.transaction(tenant_id) as connection:
            return read_collection(connection, tenant_id, collection)

    def list(
        self, tenant_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Collection]:
        """See `ports.Collections.list`."""
        after = decode_cursor("collections", cursor, 1)[0] if cursor else ""
        parameters = {"tenant_id": tenant_id, "after": after, "limit": limit + 1}
        with self._sessions.transaction(tenant_id) as connection:
            rows = connection.execute(statement("collections", "list"), parameters).fetchall()
        items = [Collection(**row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(items, encode_cursor("collections", [items[-1].collection]) if more else None)

    def delete(self, tenant_id: str, collection: str) -> None:
        """See `ports.Collections.delete`."""
        key = {"tenant_id": tenant_id, "collection": collection}
        with self._sessions.transaction(tenant_id) as connection:
            connection.execute(statement("collections", "take_time"))
            if connection.execute(statement("collections", "remove"), key).rowcount == 0:
                raise collection_not_found()

    def statistics(self, tenant_id: str, collection: str) -> CollectionStatistics:
        """See `ports.Collections.statistics`."""
        key = {"tenant_id": tenant_id, "collection": collection}
        with self._sessions.transaction(tenant_id) as connection:
            row = connection.execute(statement("collections", "statistics"), key).fetchone()
        if row is None:
            raise collection_not_found()
        return CollectionStatistics(**row)
