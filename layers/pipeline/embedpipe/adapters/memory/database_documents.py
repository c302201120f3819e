"""Documents in memory."""

from __future__ import annotations

from embedpipe.adapters.cursors import decode_cursor, encode_cursor
from embedpipe.adapters.memory.database_rows import DocumentRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.errors import NotFoundError
from embedpipe.ports import Document, Page


class MemoryDocuments:
    """`ports.Documents` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def _row(self, tenant_id: str, collection: str, document_id: str) -> DocumentRow:
        try:
            return self._state.documents[tenant_id, collection, document_id]
        except KeyError:
            raise NotFoundError("there is no such document", code="DOCUMENT_NOT_FOUND") from None

    def _read(self, row: DocumentRow) -> Document:
        number = row.current_version or row.latest_version
        version = self._state.document_versions[
            row.tenant_id, row.collection, row.document_id, number
        ]
        return Document(
            collection=row.collection,
            document_id=row.document_id,
            version=row.current_version,
            latest_version=row.latest_version,
            metadata=dict(version.metadata),
            content_type=version.content_type,
            content_sha256=version.content_sha256,
            chunks=len(self._state.visible_chunks(row)),
            created_at=row.created_at,
            updated_at=row.updated_at,
            deleted_at=row.deleted_at,
        )

    def get(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """See `ports.Documents.get`."""
        with self._state.lock:
            return self._read(self._row(tenant_id, collection, document_id))

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
        after = decode_cursor("documents", cursor, 1)[0] if cursor else ""
        with self._state.lock:
            self._state.collection(tenant_id, collection)
            rows = [
                row
                for key, row in sorted(self._state.documents.items())
                if key[:2] == (tenant_id, collection)
                and key[2] > after
                and (include_deleted or row.deleted_at is None)
            ]
            more = len(rows) > limit
            items = [self._read(row) for row in rows[:limit]]
        return Page(items, encode_cursor("documents", [items[-1].document_id]) if more else None)

    def delete(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """See `ports.Documents.delete`."""
        with self._state.lock:
            row = self._row(tenant_id, collection, document_id)
            if row.deleted_at is None:
                row.deleted_at = row.updated_at = self._state.now()
            error = JobError("DOCUMENT_DELETED", "permanent", "the document was deleted")
            for job in self._state.open_jobs(tenant_id, collection, document_id):
                self._state.finish(job, JobStatus.CANCELLED, error)
            return self._read(row)

    def restore(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """See `ports.Documents.restore`."""
        with self._state.lock:
            row = self._row(tenant_id, collection, document_id)
            if row.deleted_at is not None:
                row.deleted_at, row.updated_at = None, self._state.now()
            return self._read(row)
