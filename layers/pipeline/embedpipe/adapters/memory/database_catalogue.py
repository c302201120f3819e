"""Collections and API keys in memory."""

from __future__ import annotations

from embedpipe.adapters.cursors import decode_cursor, encode_cursor
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.jobs import TERMINAL
from embedpipe.errors import ConflictError, NotFoundError
from embedpipe.ports import (
    Collection,
    CollectionStatistics,
    ModelInfo,
    Page,
    Principal,
)


class MemoryCollections:
    """`ports.Collections` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(
        self, tenant_id: str, collection: str, model: ModelInfo, description: str
    ) -> Collection:
        """See `ports.Collections.create`."""
        with self._state.lock:
            if tenant_id not in self._state.tenants:
                raise NotFoundError("there is no such tenant", code="TENANT_NOT_FOUND")
            if (tenant_id, collection) in self._state.collections:
                raise ConflictError("the collection exists", code="COLLECTION_EXISTS")
            row = Collection(
                collection=collection,
                model_id=model.model_id,
                fingerprint=model.fingerprint,
                dimensions=model.dimensions,
                distance="cosine",
                description=description,
                created_at=self._state.now(),
                price_usd_per_million_tokens=model.price_usd_per_million_tokens,
            )
            self._state.collections[tenant_id, collection] = row
            return row

    def get(self, tenant_id: str, collection: str) -> Collection:
        """See `ports.Collections.get`."""
        with self._state.lock:
            return self._state.collection(tenant_id, collection)

    def list(
        self, tenant_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Collection]:
        """See `ports.Collections.list`."""
        after = decode_cursor("collections", cursor, 1)[0] if cursor else ""
        with self._state.lock:
            keys = sorted(self._state.collections)
            rows = [
                self._state.collections[key]
                for key in keys
                if key[0] == tenant_id and key[1] > after
            ]
        more = len(rows) > limit
        rows = rows[:limit]
        return Page(rows, encode_cursor("collections", [rows[-1].collection]) if more else None)

    def delete(self, tenant_id: str, collection: str) -> None:
        """See `ports.Collections.delete`."""
        state, key = self._state, (tenant_id, collection)
        with state.lock:
            state.collection(*key)
            del state.collections[key]
            state.documents = {k: v for k, v in state.documents.items() if k[:2] != key}
            state.document_versions = {
                k: v for k, v in state.document_versions.items() if k[:2] != key
            }
            state.chunks = {k: v for k, v in state.chunks.items() if k[:2] != key}
            state.embeddings = {k: v for k, v in state.embeddings.items() if k[:2] != key}
            state.jobs = {k: v for k, v in state.jobs.items() if (v.tenant_id, v.collection) != key}
            state.batches = {k: v for k, v in state.batches.items() if k[:2] in state.jobs}

    def statistics(self, tenant_id: str, collection: str) -> CollectionStatistics:
        """See `ports.Collections.statistics`."""
        state = self._state
        with state.lock:
            state.collection(tenant_id, collection)
            documents = [
                row for key, row in state.documents.items() if key[:2] == (tenant_id, collection)
            ]
            visible = [row for row in documents if row.is_visible]
            chunks = [chunk for row in visible for chunk in state.visible_chunks(row).values()]
            jobs = [
                job
                for job in state.jobs.values()
                if (job.tenant_id, job.collection) == (tenant_id, collection)
                and job.status not in TERMINAL
            ]
            return CollectionStatistics(
                documents=len(visible),
                deleted_documents=sum(row.deleted_at is not None for row in documents),
                chunks=len(chunks),
                tokens=sum(chunk.tokens for chunk in chunks),
                jobs_in_progress=len(jobs),
            )


class MemoryApiKeys:
    """`ports.ApiKeys` on a dictionary."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, key_id: str) -> tuple[Principal, bytes] | None:
        """See `ports.ApiKeys.find`."""
        with self._state.lock:
            row = self._state.api_keys.get(key_id)
            if row is None or row.revoked_at is not None:
                return None
            return Principal(row.tenant_id, row.role, row.key_id), row.key_sha256
