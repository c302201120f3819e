"""Search stage: the chunks nearest to a query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedpipe.errors import EmbedderUnavailableError, InvalidInputError
from embedpipe.ports import Database, Hit, QueryEmbedder


@dataclass(frozen=True)
class Search:
    """What to look for: `text` or `vector`, never both."""

    text: str | None = None
    vector: Sequence[float] | None = None
    top_k: int = 5
    filter: Mapping[str, Any] | None = None
    min_score: float | None = None
    ef_search: int | None = None


def search(
    wanted: Search,
    *,
    tenant_id: str,
    collection: str,
    database: Database,
    query_embedder: QueryEmbedder | None,
) -> list[Hit]:
    """Give the nearest chunks, best first.

    Raises
    ------
    NotFoundError
        COLLECTION_NOT_FOUND.
    InvalidInputError
        DIMENSION_MISMATCH, ZERO_VECTOR.
    EmbedderUnavailableError
        The query is a text and nothing can embed it now.
    """
    if wanted.vector is not None:
        vector = unit_vector(wanted.vector)
    else:
        found = database.collections.get(tenant_id, collection)
        if query_embedder is None:
            raise EmbedderUnavailableError
        vector = query_embedder.embed_query(
            wanted.text or "", found.fingerprint, model_id=found.model_id, tenant_id=tenant_id
        )
    return database.vectors.search(
        tenant_id,
        collection,
        vector,
        top_k=wanted.top_k,
        filter=wanted.filter,
        min_score=wanted.min_score,
        ef_search=wanted.ef_search,
    )


def unit_vector(vector: Sequence[float]) -> list[float]:
    """Scale to unit length: single precision then neither overflows nor loses the direction.

    Examples
    --------
    >>> unit_vector([3e300, 4e300])
    [0.6, 0.8]

    Raises
    ------
    InvalidInputError
        ZERO_VECTOR.
    """
    largest = max(map(abs, vector), default=0.0)
    if largest == 0.0:
        raise InvalidInputError("The vector has no direction.", code="ZERO_VECTOR", field="vector")
    scaled = [value / largest for value in vector]
    length = math.hypot(*scaled)
    return [value / length for value in scaled]
