"""Search in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pgvector import Vector
from psycopg.types.json import Jsonb

from embedpipe.adapters.float_rows import check_query
from embedpipe.adapters.postgres.collections import read_collection
from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.ports import Hit
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
