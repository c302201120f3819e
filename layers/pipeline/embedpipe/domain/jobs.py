"""Jobs: their statuses, and what may follow what."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    """Where a job stands. Exactly one terminal status is reached, and never left."""

    #: Admitted; waits for the chunk stage.
    QUEUED = "queued"
    #: The chunk stage reads and splits the document.
    CHUNKING = "chunking"
    #: Chunks are written; their batches wait for the embed stage.
    EMBEDDING = "embedding"
    #: At least one batch of vectors is stored, others are pending.
    STORING = "storing"
    #: Every chunk has its vector and the version is visible. Terminal.
    SUCCEEDED = "succeeded"
    #: Cannot be completed; error_code says why. Terminal.
    FAILED = "failed"
    #: Cancelled by a user, superseded by a newer version, or its document deleted. Terminal.
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the status is final."""
        return self in TERMINAL


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})

_ORDER = [JobStatus.QUEUED, JobStatus.CHUNKING, JobStatus.EMBEDDING, JobStatus.STORING]


def may_follow(old: JobStatus, new: JobStatus) -> bool:
    """Say whether a job may go from one status to another within one epoch.

    Forward only, steps may be skipped, a terminal status is never left.

    Examples
    --------
    >>> may_follow(JobStatus.QUEUED, JobStatus.EMBEDDING)
    True
    >>> may_follow(JobStatus.SUCCEEDED, JobStatus.FAILED)
    False
    """
    if old.is_terminal:
        return False
    if new.is_terminal:
        return True
    return _ORDER.index(new) >= _ORDER.index(old)


@dataclass(frozen=True)
class JobRef:
    """What a message says about the job it works for; the fence compares it with the row."""

    tenant_id: str
    job_id: str
    epoch: int
    collection: str
    document_id: str
    version: int


@dataclass(frozen=True)
class BatchRef:
    """One batch of chunks of a job: the unit of an embed and of a store message."""

    job: JobRef
    batch_no: int


@dataclass(frozen=True)
class JobError:
    """Why a job failed or was cancelled."""

    code: str
    failure_type: str
    message: str


@dataclass(frozen=True)
class Job:
    """One document's way through all stages, as a reader sees it.

    Attributes
    ----------
    tier
        The tenant's, at admission.
    tokens_total
        Tokens of all chunks as the model takes them; overlaps count twice.
    cost_usd
        Price of these tokens, by the price of the collection's model: 0 for a model of one's own.
    """

    tenant_id: str
    job_id: str
    collection: str
    document_id: str
    version: int
    epoch: int
    status: JobStatus
    tier: str
    priority: int
    chunks_total: int | None
    chunks_stored: int
    tokens_total: int | None
    cost_usd: float | None
    attempts: int
    error: JobError | None
    metadata: dict[str, Any]
    created_at: datetime
    chunking_at: datetime | None
    embedding_at: datetime | None
    storing_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Chunking:
    """How a document is cut.

    Attributes
    ----------
    size
        Largest chunk, in `unit`. Tokens are the model's own, its special tokens included.
    overlap
        How much neighbouring chunks share, in `unit`; smaller than `size`.
    unit
        `tokens` or `chars` (Unicode code points).
    """

    size: int = 256
    overlap: int = 32
    unit: str = "tokens"


@dataclass(frozen=True)
class NewJob:
    """An admitted request, before it has a version."""

    tenant_id: str
    job_id: str
    collection: str
    document_id: str
    content: str | None
    content_uri: str | None
    content_sha256: str
    content_bytes: int
    content_type: str
    chunking: Chunking
    metadata: dict[str, Any] = field(default_factory=dict)
    priority: int = 50
    idempotency_key: str | None = None
    request_sha256: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Source:
    """What the chunk stage needs to know about a document version.

    `content` or `content_uri` is set, never both. `priority` is the job's, and so is `epoch`, in
    which the work goes on: the message's own, unless it was put back from the DLQ.
    """

    content: str | None
    content_uri: str | None
    content_sha256: str
    content_type: str
    chunking: Chunking
    model_id: str
    fingerprint: str
    traceparent: str | None
    priority: int = 50
    epoch: int | None = None
