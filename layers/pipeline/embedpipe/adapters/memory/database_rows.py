"""The rows of the in-memory database, named as the columns of the real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from embedpipe.domain.dead_letters import EntryState
from embedpipe.domain.jobs import Chunking, JobError, JobStatus, may_follow
from embedpipe.ports.dlq_entries import NewEntry
from embedpipe.ports.redrives import Redrive


@dataclass
class DocumentRow:
    """A row of `documents`."""

    tenant_id: str
    collection: str
    document_id: str
    latest_version: int
    current_version: int | None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    is_compacting: bool = False

    @property
    def is_visible(self) -> bool:
        """Whether search shows it."""
        return self.current_version is not None and self.deleted_at is None


@dataclass
class VersionRow:
    """A row of `document_versions`."""

    tenant_id: str
    collection: str
    document_id: str
    version: int
    content: str | None
    content_uri: str | None
    content_sha256: str
    content_bytes: int
    content_type: str
    chunking: Chunking
    metadata: dict[str, Any]
    created_at: datetime


@dataclass
class JobRow:
    """A row of `jobs`."""

    tenant_id: str
    job_id: str
    collection: str
    document_id: str
    version: int
    tier: str
    priority: int
    idempotency_key: str | None
    request_sha256: str | None
    traceparent: str | None
    created_at: datetime
    epoch: int = 1
    status: JobStatus = JobStatus.QUEUED
    chunks_total: int | None = None
    tokens_total: int | None = None
    cost_usd: float | None = None
    attempts: int = 0
    error: JobError | None = None
    chunking_at: datetime | None = None
    embedding_at: datetime | None = None
    storing_at: datetime | None = None
    finished_at: datetime | None = None
    rescues: int = 0
    requeued_from: int | None = None
    touched_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        """Let it have moved when it was made."""
        self.touched_at = self.created_at

    def move_to(self, status: JobStatus) -> None:
        """Change the status within an epoch, forward only, as the real database does."""
        if not may_follow(self.status, status):
            raise RuntimeError(f"a job that is {self.status} cannot become {status}")
        self.status = status


@dataclass
class BatchRow:
    """A row of `batches`."""

    tenant_id: str
    job_id: str
    epoch: int
    batch_no: int
    chunk_from: int
    chunk_count: int
    state: str = "pending"
    attempts: int = 0


@dataclass
class ChunkRow:
    """A row of `chunks`."""

    tenant_id: str
    collection: str
    document_id: str
    version: int
    chunk_index: int
    start_offset: int
    end_offset: int
    text: str
    tokens: int
    content_sha256: str
    heading_path: list[str]


@dataclass
class EmbeddingRow:
    """A row of `embeddings`."""

    tenant_id: str
    collection: str
    document_id: str
    version: int
    chunk_index: int
    fingerprint: str
    embedding: list[float]


@dataclass
class OutboxEntry:
    """A row of `outbox`."""

    tenant_id: str
    queue: str
    message_key: str
    body: str
    claimed_until: datetime
    created_at: datetime


@dataclass
class KeyRow:
    """A row of `api_keys`."""

    tenant_id: str
    key_id: str
    key_sha256: bytes = field(repr=False)
    role: str
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass
class CrashRow:
    """How often a process died while it worked on a message."""

    tenant_id: str
    job_id: str
    epoch: int
    stage: str
    batch_no: int | None
    deaths: int


@dataclass
class DlqRow:
    """A row of `dlq_entries`: as it was first seen, and what became of it."""

    entry: NewEntry
    receive_count: int
    arrived_at: datetime
    seen_at: datetime
    changed_at: datetime
    state: EntryState = EntryState.QUARANTINED
    note: str = ""
    changed_by: str = ""


@dataclass
class RedriveRow:
    """A row of `redrives`."""

    redrive: Redrive
    lease_owner: str | None = None
    lease_until: datetime | None = None
