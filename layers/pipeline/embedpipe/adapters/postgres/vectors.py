"""Vectors in PostgreSQL: search, and those of one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pgvector import Vector
from psycopg.types.json import Jsonb

from embedpipe.adapters.cursors import decode_chunk_cursor, encode_chunk_cursor
from embedpipe.adapters.float_rows import check_query
from embedpipe.adapters.postgres.collections import read_collection
from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.ports import ChunkVector, Hit, Page
from embedpipe.sql import statement


class PostgresVectors:
    """`ports.Vectors` on PostgreSQL.

    Parameters
    ----------
    ef_search
        How many candidates an HNSW index keeps while it searches, 1 to 1,000.
    """

    def __init__(self, sessions: Sessions, *, ef_search: int) -> None:
        self._sessions = sessions
        self._ef_search = ef_search

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
        tuning = {"ef_search": str(ef_search or self._ef_search)}
        with self._sessions.transaction(tenant_id) as connection:
            held = read_collection(connection, tenant_id, collection)
            check_query(vector, held.dimensions)
            connection.execute(statement("chunks", "tune_search"), tuning)
            rows = connection.execute(
                statement("chunks", "search"),
                {
                    "tenant_id": tenant_id,
                    "collection": collection,
                    "fingerprint": held.fingerprint,
                    "vector": Vector(list(vector)),
                    "filter": Jsonb(dict(filter)) if filter else None,
                    "min_score": min_score,
                    "top_k": top_k,
                },
            ).fetchall()
        return [
            Hit(start=row.pop("start_offset"), end=row.pop("end_offset"), **row) for row in rows
        ]

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
        with self._sessions.transaction(tenant_id) as connection:
            held = read_collection(connection, tenant_id, collection)
            rows = connection.execute(
                statement("chunks", "vectors"),
                {
                    "tenant_id": tenant_id,
                    "collection": collection,
                    "document_id": document_id,
                    "version": version,
                    "fingerprint": held.fingerprint,
                    "after": after,
                    "limit": limit + 1,
                },
            ).fetchall()
        items = [ChunkVector(row["chunk_index"], row["vector"]) for row in rows[:limit]]
        more = len(rows) > limit
        return Page(items, encode_chunk_cursor(items[-1].chunk_index) if more else None)
