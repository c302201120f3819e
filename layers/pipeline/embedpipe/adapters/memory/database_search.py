"""Search in memory: an exact scan over the visible versions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedpipe.adapters.cursors import decode_chunk_cursor, encode_chunk_cursor
from embedpipe.adapters.float_rows import check_query
from embedpipe.adapters.memory.database_rows import DocumentRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.ports import ChunkVector, Hit, Page


def contains(value: Any, part: Any) -> bool:
    """Say whether JSON contains other JSON, as JSONB @> does below an object.

    Objects by key, arrays by element whatever the order.
    """
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            key in value and contains(value[key], inner) for key, inner in part.items()
        )
    if isinstance(part, list):
        return isinstance(value, list) and all(
            any(contains(element, inner) for element in value) for inner in part
        )
    return _same(value, part)


def _same(left: Any, right: Any) -> bool:
    # In Python True equals 1; in JSON it does not.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


class MemoryVectors:
    """`ports.Vectors` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def search(
        self,
        tenant_id: str,
        collection: str,
        vector: Sequence[float],
        *,
        top_k: int = 5,
        filter: Mapping[str, Any] | None = None,
        min_score: float | None = None,
        ef_search: int | None = None,
    ) -> list[Hit]:
        """See `ports.Vectors.search`."""
        with self._state.lock:
            check_query(vector, self._state.collection(tenant_id, collection).dimensions)
            hits = [
                hit
                for key, row in self._state.documents.items()
                if key[:2] == (tenant_id, collection) and row.is_visible
                for hit in self._hits(row, vector, filter)
                if min_score is None or hit.score >= min_score
            ]
        hits.sort(key=lambda hit: (-hit.score, hit.document_id, hit.chunk_index))
        return hits[:top_k]

    def of_version(
        self,
        tenant_id: str,
        collection: str,
        document_id: str,
        version: int,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ChunkVector]:
        """See `ports.Vectors.of_version`."""
        after = -1 if cursor is None else decode_chunk_cursor(cursor)
        with self._state.lock:
            self._state.collection(tenant_id, collection)
            key = (tenant_id, collection, document_id, version)
            found = sorted(self._state.embeddings.get(key, {}).items())
        items = [ChunkVector(index, row.embedding) for index, row in found if index > after]
        more = len(items) > limit
        items = items[:limit]
        return Page(items, encode_chunk_cursor(items[-1].chunk_index) if more else None)

    def _hits(
        self, row: DocumentRow, vector: Sequence[float], filter: Mapping[str, Any] | None
    ) -> Iterator[Hit]:
        version = row.current_version or 0
        key = (row.tenant_id, row.collection, row.document_id, version)
        metadata = self._state.document_versions[key].metadata
        if filter and not contains(metadata, dict(filter)):
            return
        stored = self._state.embeddings.get(key, {})
        for index, chunk in self._state.visible_chunks(row).items():
            yield Hit(
                document_id=row.document_id,
                version=version,
                chunk_index=index,
                text=chunk.text,
                start=chunk.start_offset,
                end=chunk.end_offset,
                score=_cosine(vector, stored[index].embedding),
                heading_path=list(chunk.heading_path),
                metadata=dict(metadata),
            )


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    product = math.fsum(a * b for a, b in zip(left, right, strict=True))
    return product / (math.hypot(*left) * math.hypot(*right))
