"""The tables of the in-memory database, and what several ports do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import RLock

from embedpipe.adapters.memory.database_rows import (
    BatchRow,
    ChunkRow,
    CrashRow,
    DlqRow,
    DocumentRow,
    EmbeddingRow,
    JobRow,
    KeyRow,
    OutboxEntry,
    RedriveRow,
    VersionRow,
)
from embedpipe.domain.audit import AuditEntry
from embedpipe.domain.breakers import Breaker
from embedpipe.domain.controls import CONTROLLED, Control
from embedpipe.domain.jobs import TERMINAL, JobError, JobRef, JobStatus
from embedpipe.errors import NotFoundError
from embedpipe.ports import Collection, CrashKey, OutboxRow
from embedpipe.ports.heartbeats import WorkerBeat
from embedpipe.ports.skips import SKIPPED, Skip

#: Whoever wrote an outbox row has this long to send it before the sweep does.
BORN_CLAIMED = timedelta(seconds=30)


def utc_now() -> datetime:
    """Give the time of day."""
    return datetime.now(UTC)


class State:
    """All rows, under one lock. A caller holds the lock for the whole of its transaction."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.now = clock
        self.lock = RLock()
        self.tenants: dict[str, str] = {}
        self.api_keys: dict[str, KeyRow] = {}
        self.collections: dict[tuple[str, str], Collection] = {}
        self.documents: dict[tuple[str, str, str], DocumentRow] = {}
        self.document_versions: dict[tuple[str, str, str, int], VersionRow] = {}
        self.jobs: dict[tuple[str, str], JobRow] = {}
        self.batches: dict[tuple[str, str, int, int], BatchRow] = {}
        self.chunks: dict[tuple[str, str, str, int], dict[int, ChunkRow]] = {}
        self.embeddings: dict[tuple[str, str, str, int], dict[int, EmbeddingRow]] = {}
        self.outbox: dict[tuple[str, str, str], OutboxEntry] = {}
        self.breakers: dict[str, Breaker] = {}
        self.probers: dict[str, tuple[str, datetime]] = {}
        self.crash_ledger: dict[CrashKey, CrashRow] = {}
        self.audit: list[AuditEntry] = []
        self.job_skips: dict[tuple[str, str], Skip] = {}
        self.stage_controls = {name: Control(name, changed_at=clock()) for name in CONTROLLED}
        self.worker_heartbeats: dict[str, WorkerBeat] = {}
        self.dlq_entries: dict[tuple[str, str], DlqRow] = {}
        self.requeue_buckets: dict[str, tuple[float, datetime]] = {}
        self.redrives: dict[str, RedriveRow] = {}
        self.cursors: dict[str, tuple[str, datetime]] = {}

    @property
    def audit_log(self) -> dict[int, AuditEntry]:
        """The audit log as the table that it is."""
        return {entry.audit_id: entry for entry in self.audit}

    def collection(self, tenant_id: str, collection: str) -> Collection:
        """Read a collection. Raises NotFoundError (COLLECTION_NOT_FOUND)."""
        try:
            return self.collections[tenant_id, collection]
        except KeyError:
            raise NotFoundError(
                "there is no such collection", code="COLLECTION_NOT_FOUND"
            ) from None

    def fenced(self, ref: JobRef, *statuses: JobStatus) -> JobRow | None:
        """Give the job of a message when it still is what the message says, else None."""
        row = self.jobs.get((ref.tenant_id, ref.job_id))
        if row is None or row.status not in statuses:
            return None
        held = (row.epoch, row.collection, row.document_id, row.version)
        if held != (ref.epoch, ref.collection, ref.document_id, ref.version):
            return None
        if self.is_skipped(row):
            self.finish(row, JobStatus.CANCELLED, SKIPPED)
            return None
        return row

    def chunked_for(self, ref: JobRef) -> JobRef:
        """Give what a chunk message works for: a requeue put it back for the epoch it opened."""
        row = self.jobs.get((ref.tenant_id, ref.job_id))
        if row is None or row.requeued_from != ref.epoch:
            return ref
        is_open = row.status in (JobStatus.QUEUED, JobStatus.CHUNKING)
        return replace(ref, epoch=row.epoch) if is_open else ref

    def is_skipped(self, row: JobRow) -> bool:
        """Say whether an active skip holds a job."""
        skip = self.job_skips.get((row.tenant_id, row.job_id))
        return skip is not None and skip.expires_at > self.now()

    def batches_of(self, job: JobRow) -> list[BatchRow]:
        """Give the batches of a job's epoch."""
        return [
            row
            for row in self.batches.values()
            if (row.tenant_id, row.job_id, row.epoch) == (job.tenant_id, job.job_id, job.epoch)
        ]

    def finish(self, job: JobRow, status: JobStatus, error: JobError) -> None:
        """Set a job failed or cancelled and remove what its version has stored."""
        job.move_to(status)
        job.error, job.finished_at = error, self.now()
        self.remove_version(job.tenant_id, job.collection, job.document_id, job.version)
        for row in self.batches_of(job):
            del self.batches[row.tenant_id, row.job_id, row.epoch, row.batch_no]

    def remove_version(self, *key: *tuple[str, str, str, int]) -> None:
        """Remove chunks and vectors of one version of a document."""
        self.chunks.pop(key, None)
        self.embeddings.pop(key, None)

    def open_jobs(self, tenant_id: str, collection: str, document_id: str) -> list[JobRow]:
        """Give the jobs of a document that are not final."""
        return [
            job
            for job in self.jobs.values()
            if (job.tenant_id, job.collection, job.document_id)
            == (tenant_id, collection, document_id)
            and job.status not in TERMINAL
        ]

    def publish(self, job: JobRow) -> None:
        """Set a job succeeded, make its version the visible one, remove those before it."""
        now = self.now()
        job.move_to(JobStatus.SUCCEEDED)
        job.finished_at = now
        key = (job.tenant_id, job.collection, job.document_id)
        document = self.documents[key]
        document.current_version = max(document.current_version or 0, job.version)
        document.updated_at, document.deleted_at = now, None
        for version in range(1, document.current_version):
            self.remove_version(*key, version)

    def visible_chunks(self, row: DocumentRow) -> dict[int, ChunkRow]:
        """Give the chunks of a document's visible version, by index."""
        if row.current_version is None:
            return {}
        key = (row.tenant_id, row.collection, row.document_id, row.current_version)
        return self.chunks.get(key, {})

    def add_outbox(self, rows: Sequence[OutboxRow]) -> None:
        """Write outbox rows, claimed for whoever wrote them."""
        now = self.now()
        for row in rows:
            key = (row.tenant_id, row.queue, row.key)
            entry = OutboxEntry(*key, row.body, now + BORN_CLAIMED, now)
            self.outbox.setdefault(key, entry)
