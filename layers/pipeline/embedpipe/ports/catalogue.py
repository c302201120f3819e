"""Ports to collections, documents, search and API keys. Every method is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from embedpipe.ports.models import ModelInfo
from embedpipe.ports.paging import Page


@dataclass(frozen=True)
class Collection:
    """Vectors of one model, of one tenant."""

    collection: str
    model_id: str
    fingerprint: str
    dimensions: int
    distance: str
    description: str
    created_at: datetime
    price_usd_per_million_tokens: float = 0.0


@dataclass(frozen=True)
class CollectionStatistics:
    """What a collection holds. Counts are of visible versions, jobs of those not final."""

    documents: int
    deleted_documents: int
    chunks: int
    tokens: int
    jobs_in_progress: int


class Collections(Protocol):
    """Collections of a tenant."""

    def create(
        self, tenant_id: str, collection: str, model: ModelInfo, description: str
    ) -> Collection:
        """Create one. Raises ConflictError (COLLECTION_EXISTS)."""
        ...

    def get(self, tenant_id: str, collection: str) -> Collection:
        """Read one. Raises NotFoundError (COLLECTION_NOT_FOUND)."""
        ...

    def list(
        self, tenant_id: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Collection]:
        """List them by name."""
        ...

    def delete(self, tenant_id: str, collection: str) -> None:
        """Remove one with its documents, chunks, vectors and jobs.

        Raises NotFoundError (COLLECTION_NOT_FOUND).
        """
        ...

    def statistics(self, tenant_id: str, collection: str) -> CollectionStatistics:
        """Count what one holds. Raises NotFoundError (COLLECTION_NOT_FOUND)."""
        ...


@dataclass(frozen=True)
class Document:
    """A document; `version` is the visible one, None before the first is stored."""

    collection: str
    document_id: str
    version: int | None
    latest_version: int
    metadata: dict[str, Any]
    content_type: str
    content_sha256: str
    chunks: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class Documents(Protocol):
    """Documents of a collection.

    Metadata, type and digest are the visible version's, else the latest's.
    """

    def get(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """Read one, soft-deleted ones too. Raises NotFoundError (DOCUMENT_NOT_FOUND)."""
        ...

    def list(
        self,
        tenant_id: str,
        collection: str,
        *,
        include_deleted: bool = False,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Document]:
        """List by id. Raises NotFoundError (COLLECTION_NOT_FOUND)."""
        ...

    def delete(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """Hide one from search and cancel its jobs with code DOCUMENT_DELETED. Idempotent.

        A version admitted afterwards brings the document back when it is published.
        """
        ...

    def restore(self, tenant_id: str, collection: str, document_id: str) -> Document:
        """Bring a soft-deleted one back into search. Idempotent."""
        ...


@dataclass(frozen=True)
class Hit:
    """A chunk that search found; `score` is the cosine similarity, -1 to 1."""

    document_id: str
    version: int
    chunk_index: int
    text: str
    start: int
    end: int
    score: float
    heading_path: list[str]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class ChunkVector:
    """The vector of a chunk, of unit length."""

    chunk_index: int
    vector: Sequence[float]


class Vectors(Protocol):
    """Vectors: search over the visible versions, and those of one version."""

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
        """List the vectors of a version's chunks, of the collection's model, by chunk index.

        Nothing where there is no such version or it was removed.

        Raises
        ------
        NotFoundError
            COLLECTION_NOT_FOUND.
        InvalidInputError
            INVALID_CURSOR.
        """
        ...

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
        """Give the nearest chunks, best first; ties by document and chunk index.

        `filter` is contained in the document's metadata (JSONB @>).

        Raises
        ------
        NotFoundError
            COLLECTION_NOT_FOUND.
        InvalidInputError
            DIMENSION_MISMATCH: the vector has not the collection's dimensions. ZERO_VECTOR: it is
            not finite, or all zeros.
        """
        ...


@dataclass(frozen=True)
class Principal:
    """Who calls: a tenant and a role (`user` or `admin`)."""

    tenant_id: str
    role: str
    key_id: str


class ApiKeys(Protocol):
    """API keys, hashed at rest: `ep_<key_id>_<secret>`."""

    def find(self, key_id: str) -> tuple[Principal, bytes] | None:
        """Give the principal and SHA-256 of the whole key; None when unknown or revoked."""
        ...
