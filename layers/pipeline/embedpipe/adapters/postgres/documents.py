"""Documents in PostgreSQL."""

from __future__ import annotations

from embedpipe.adapters.cursors import decode_cursor, encode_cursor
from embedpipe.adapters.postgres.collections import read_collection
from embedpipe.adapters.postgres.fences import stop_jobs
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.errors import NotFoundError
from embedpipe.ports import Document, Page
from embedpipe.sql import statement


def _read(connection: Connection, key: dict[str, str]) -> Document:
    row = connection.execute(statement("documents", "read"), key).fetchone()
    if row is None:
        raise NotFoundError("there is no such document", code="DOCUMENT_NOT_FOUND")
    return Document(**row)


def _key(tenant_id: str, collection: str, document_id: str) -> dict[str, str]:
    return {"tenant_id": tenant_id, "collection": collection, "document_id": document_id}


class PostgresDocuments:
    """`ports.Documents` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def get(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """See `ports.Documents.get`."""
        with self._sessions.transaction(tenant_id) as connection:
            return _read(connection, _key(tenant_id, collection, document_id))

    def list(
        self,
        tenant_id: str,
        collection: str,
        *,
        include_deleted: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Document]:
        """See `ports.Documents.list`."""
        parameters = {
            "tenant_id": tenant_id,
            "collection": collection,
            "include_deleted": include_deleted,
            "after": decode_cursor("documents", cursor, 1)[0] if cursor else "",
            "limit": limit + 1,
        }
        with self._sessions.transaction(tenant_id) as connection:
            read_collection(connection, tenant_id, collection)
            rows = connection.execute(statement("documents", "list"), parameters).fetchall()
        items = [Document(**row) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(items, encode_cursor("documents", [items[-1].document_id]) if more else None)

    def delete(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """See `ports.Documents.delete`."""
        key = _key(tenant_id, collection, document_id)
        error = JobError("DOCUMENT_DELETED", "permanent", "the document was deleted")
        with self._sessions.transaction(tenant_id) as connection:
            if connection.execute(statement("documents", "hide"), key).rowcount:
                stop_jobs(connection, key, JobStatus.CANCELLED, error)
            return _read(connection, key)

    def restore(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """See `ports.Documents.restore`."""
        key = _key(tenant_id, collection, document_id)
        with self._sessions.transaction(tenant_id) as connection:
            connection.execute(statement("documents", "restore"), key)
            return _read(connection, key)
