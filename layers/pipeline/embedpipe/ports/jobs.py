"""Ports to jobs and the transactional outbox.

Every method is one transaction. Every method that changes something is fenced: it locks the
document's row, then the job's row, compares tenant, epoch, version and status with what the caller
holds, and does nothing when they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from embedpipe.domain.jobs import BatchRef, Job, JobError, JobRef, JobStatus, NewJob, Source
from embedpipe.ports.paging import Page


@dataclass(frozen=True)
class OutboxRow:
    """A message that belongs to a committed change: (tenant_id, queue, key) is unique.

    `queue` is `chunk`, `store`, or one of `domain.lanes.QUEUES`.
    """

    tenant_id: str
    queue: str
    key: str
    body: str


class OutboxRows(Protocol):
    """The transactional outbox: rows written with a change, sent after it, removed when sent."""

    def sent(self, rows: Sequence[OutboxRow]) -> None:
        """Remove rows that the queue has accepted."""
        ...

    def claim(self, limit: int = 100, claim_s: int = 30) -> list[OutboxRow]:
        """Take rows, of all tenants, that nobody sent in time; hidden from others for `claim_s`.

        Needs the maintenance role. Rows are born claimed for 30 s, for whoever wrote them.
        """
        ...


@dataclass(frozen=True)
class Admission:
    """What admission answers. `created` is False when the Idempotency-Key was seen before."""

    job_id: str
    document_id: str
    version: int
    status: JobStatus
    epoch: int
    created: bool


@dataclass(frozen=True)
class NewChunk:
    """One chunk to write; `text` is content[start:end], in code points."""

    index: int
    start: int
    end: int
    text: str
    tokens: int
    content_sha256: str
    heading_path: Sequence[str] = ()


@dataclass(frozen=True)
class NewBatch:
    """Chunks [chunk_from, chunk_from + chunk_count) travel together."""

    batch_no: int
    chunk_from: int
    chunk_count: int


class Jobs(Protocol):
    """Jobs through their life."""

    def admit(self, job: NewJob, outbox: Callable[[Admission], OutboxRow]) -> Admission:
        """Give the document its next version and insert the job as `queued` with its outbox row.

        Jobs of older versions of the document that are not final become `cancelled` with code
        SUPERSEDED, and what they had stored is removed. With an `idempotency_key` that the tenant
        used before, nothing is written: the first answer comes back with `created` False.

        Raises
        ------
        NotFoundError
            COLLECTION_NOT_FOUND.
        ConflictError
            IDEMPOTENCY_KEY_REUSED: the key was used with another `request_sha256`.
        """
        ...

    def get(self, tenant_id: str, job_id: str) -> Job:
        """Read one job. Raises NotFoundError (JOB_NOT_FOUND), also for another tenant's."""
        ...

    def list(
        self,
        tenant_id: str,
        *,
        status: JobStatus | None = None,
        collection: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """List jobs, newest first, by keyset. Raises InvalidInputError (INVALID_CURSOR)."""
        ...

    def cancel(self, tenant_id: str, job_id: str) -> Job:
        """Cancel a job and remove what its version has stored, in one transaction.

        Raises NotFoundError (JOB_NOT_FOUND) or ConflictError (JOB_FINAL).
        """
        ...

    def begin_chunking(self, ref: JobRef) -> Source | None:
        """Mark the job `chunking` and give its source; None when the fence says it is not wanted.

        Wanted: the job is `queued` or `chunking`, in this epoch.
        """
        ...

    def finish_chunking(
        self,
        ref: JobRef,
        chunks: Sequence[NewChunk],
        batches: Sequence[NewBatch],
        outbox: Sequence[OutboxRow],
    ) -> bool:
        """Write chunks, batches (`pending`) and outbox rows, and set the job `embedding`.

        Without a batch there is nothing to wait for: the empty version is published at once.
        False, and nothing written, when the job is no longer `queued` or `chunking` in this epoch.
        """
        ...

    def pending(self, batches: Sequence[BatchRef]) -> set[BatchRef]:
        """Give those whose vectors are still wanted: job not final, same epoch, batch `pending`."""
        ...

    def store(self, ref: BatchRef, fingerprint: str, dimensions: int, vectors: bytes) -> bool:
        """Store the vectors of a batch; with the last one, publish the version.

        `vectors` is float32, little-endian, row after row, one row per chunk of the batch. In one
        transaction: vectors upserted, batch `stored`, job `storing`; and when no batch of the job
        is pending: job `succeeded`, the version becomes the document's visible one unless a newer
        one is, a deleted document is back, the chunks and vectors of every older version go.

        False, and nothing written, when the fence says it is not wanted or the batch is stored.

        Raises
        ------
        ModelMismatchError, DimensionMismatchError
            Not what the collection holds; or the byte length does not fit the batch.
        BadVectorError
            A value is not finite, or a vector is all zeros.
        """
        ...

    def fail(self, ref: JobRef, error: JobError) -> bool:
        """Set the job `failed` and remove what its version has stored; False when fenced off."""
        ...

    def spend_attempt(self, ref: JobRef, batch_no: int | None = None) -> int:
        """Count a failed attempt of the chunk stage, or of one batch; give how many there are.

        0 when the fence says the work is not wanted.
        """
        ...

    def check(self) -> None:
        """Raise StoreUnavailableError when the database does not answer."""
        ...
