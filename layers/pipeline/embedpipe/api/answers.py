"""What the operations answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from embedpipe.domain.jobs import Job, JobStatus
from embedpipe.ports import Admission, Collection, CollectionStatistics, Document, Hit, ModelInfo

T = TypeVar("T")


class Answer(BaseModel):
    """An answer; read from the attributes of what a port gave."""

    model_config = ConfigDict(from_attributes=True, frozen=True, hide_input_in_errors=True)


class Accepted(Answer):
    """An admitted job."""

    job_id: str
    document_id: str
    version: int
    status: JobStatus

    @classmethod
    def of(cls, admission: Admission) -> Self:
        """Describe an admission."""
        return cls.model_validate(admission)


class Progress(Answer):
    """How far a job is; `chunks_total` is null until the document is cut."""

    chunks_total: int | None
    chunks_stored: int


class JobFailure(Answer):
    """Why a job failed or was cancelled."""

    code: str
    failure_type: str
    message: str


class JobAnswer(Answer):
    """One document's way through all stages."""

    job_id: str
    status: JobStatus
    collection: str
    document_id: str
    version: int
    tier: str
    priority: int
    progress: Progress
    tokens_total: int | None
    cost_usd: float | None
    attempts: int
    metadata: dict[str, Any]
    error: JobFailure | None
    created_at: datetime
    chunking_at: datetime | None
    embedding_at: datetime | None
    storing_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Describe a job."""
        own = {name: getattr(job, name) for name in cls.model_fields if name != "progress"}
        return cls.model_validate(own | {"progress": Progress.model_validate(job)})


class CollectionAnswer(Answer):
    """Vectors of one model."""

    collection: str
    model_id: str
    fingerprint: str
    dimensions: int
    distance: str
    description: str
    price_usd_per_million_tokens: float
    created_at: datetime

    @classmethod
    def of(cls, collection: Collection) -> Self:
        """Describe a collection."""
        return cls.model_validate(collection)


class StatisticsAnswer(Answer):
    """What a collection holds: visible documents, and jobs that are not final."""

    documents: int
    deleted_documents: int
    chunks: int
    tokens: int
    jobs_in_progress: int

    @classmethod
    def of(cls, statistics: CollectionStatistics) -> Self:
        """Describe statistics."""
        return cls.model_validate(statistics)


class DocumentAnswer(Answer):
    """A document; `version` is the searchable one, null before the first is stored."""

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

    @classmethod
    def of(cls, document: Document) -> Self:
        """Describe a document."""
        return cls.model_validate(document)


class HitAnswer(Answer):
    """A chunk that search found; `text` is the document's [start, end), in code points."""

    document_id: str
    version: int
    chunk_index: int
    text: str
    start: int
    end: int
    score: float = Field(description="Cosine similarity, -1 to 1.")
    heading_path: list[str]
    metadata: dict[str, Any]


class SearchAnswer(Answer):
    """Chunks, best first."""

    results: list[HitAnswer]

    @classmethod
    def of(cls, hits: list[Hit]) -> Self:
        """Describe hits."""
        return cls(results=[HitAnswer.model_validate(hit) for hit in hits])


class Embedding(Answer):
    """One input's vector: numbers, or base64 of float32, little-endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(Answer):
    """Tokens, prefix and special ones included."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(Answer):
    """Vectors in the order of the inputs, of unit length."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class EmbeddingsPage(Answer):
    """Vectors of a job's inputs or chunks; `cursor` gives the next page."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    cursor: str | None


class ModelAnswer(Answer):
    """A model; `loaded` is null while no embed worker answers."""

    model_id: str
    provider: str
    dimensions: int
    max_tokens: int
    matryoshka_dimensions: list[int]
    fingerprint: str
    is_default: bool
    loaded: bool | None

    @classmethod
    def of(cls, model: ModelInfo, *, is_default: bool, loaded: bool | None) -> Self:
        """Describe a model."""
        names = set(cls.model_fields) - {"is_default", "loaded"}
        own = {name: getattr(model, name) for name in names}
        return cls.model_validate(own | {"is_default": is_default, "loaded": loaded})


class WarmUpAnswer(Answer):
    """A model's state. `remote`: its provider computes it, and there is nothing to load."""

    model_id: str
    provider: str
    state: Literal["loaded", "already_loaded", "loading", "remote"]
    milliseconds: float


class BreakerAnswer(Answer):
    """A provider's circuit breaker.

    It is asked no more while `open`, until `retry_at`; `half_open`: one request finds out.
    """

    provider: str
    state: Literal["closed", "open", "half_open"]
    failures: int
    last_error: str
    opened_at: datetime | None
    retry_at: datetime | None
    changed_at: datetime | None


class Listing(Answer, Generic[T]):
    """One page; `cursor` gives the next one, and is null on the last."""

    items: list[T]
    cursor: str | None


class Health(Answer):
    """Whether requests can be served."""

    status: Literal["ok"]


class CheckResult(Answer):
    """One part: whether it answers, in how many milliseconds, and the code if it does not."""

    ok: bool
    ms: float
    code: str | None = None


class Readiness(Answer):
    """Every part that requests need."""

    status: Literal["ready", "unavailable"]
    checks: dict[str, CheckResult]
