"""Jobs in PostgreSQL: one transaction per method."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from embedpipe.adapters.postgres import chunking, storing
from embedpipe.adapters.postgres.fences import fence, is_job_id, lock_document, stop_jobs
from embedpipe.adapters.postgres.job_reading import job_not_found, list_jobs, read_job
from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.adapters.postgres.submit import admit
from embedpipe.domain.jobs import BatchRef, Job, JobError, JobRef, JobStatus, NewJob, Source
from embedpipe.errors import ConflictError
from embedpipe.ports import Admission, NewBatch, NewChunk, OutboxRow, Page
from embedpipe.sql import statement


class PostgresJobs:
    """`ports.Jobs` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def admit(self, job: NewJob, outbox: Callable[[Admission], OutboxRow]) -> Admission:
        """See `ports.Jobs.admit`."""
        return admit(self._sessions, job, outbox)

    def get(self, tenant_id: str, job_id: str) -> Job:
        """See `ports.Jobs.get`."""
        if not is_job_id(job_id):
            raise job_not_found()
        with self._sessions.transaction(tenant_id) as connection:
            return read_job(connection, {"tenant_id": tenant_id, "job_id": job_id})

    def list(
        self,
        tenant_id: str,
        *,
        status: JobStatus | None = None,
        collection: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """See `ports.Jobs.list`."""
        parameters = {
            "tenant_id": tenant_id,
            "status": status.value if status else None,
            "collection": collection,
            "limit": limit,
        }
        with self._sessions.transaction(tenant_id) as connection:
            return list_jobs(connection, parameters, cursor)

    def cancel(self, tenant_id: str, job_id: str) -> Job:
        """See `ports.Jobs.cancel`."""
        if not is_job_id(job_id):
            raise job_not_found()
        key = {"tenant_id": tenant_id, "job_id": job_id}
        error = JobError("CANCELLED", "permanent", "cancelled on request")
        with self._sessions.transaction(tenant_id) as connection:
            found = read_job(connection, key)
            of_document = {
                **key,
                "collection": found.collection,
                "document_id": found.document_id,
            }
            lock_document(connection, of_document)
            stopped = stop_jobs(connection, of_document, JobStatus.CANCELLED, error)
            job = read_job(connection, key)
            if not stopped:
                raise ConflictError(f"the job is {job.status.value} already", code="JOB_FINAL")
            return job

    def begin_chunking(self, ref: JobRef) -> Source | None:
        """See `ports.Jobs.begin_chunking`."""
        with self._sessions.transaction(ref.tenant_id, durable=False) as connection:
            return chunking.begin_chunking(connection, ref)

    def finish_chunking(
        self,
        ref: JobRef,
        chunks: Sequence[NewChunk],
        batches: Sequence[NewBatch],
        outbox: Sequence[OutboxRow],
    ) -> bool:
        """See `ports.Jobs.finish_chunking`."""
        with self._sessions.transaction(ref.tenant_id) as connection:
            return chunking.finish_chunking(connection, ref, chunks, batches, outbox)

    def pending(self, batches: Sequence[BatchRef]) -> set[BatchRef]:
        """See `ports.Jobs.pending`."""
        wanted: set[BatchRef] = set()
        for tenant_id, of_tenant in storing.by_tenant(batches):
            with self._sessions.transaction(tenant_id) as connection:
                wanted |= storing.pending(connection, tenant_id, of_tenant)
        return wanted

    def store(self, ref: BatchRef, fingerprint: str, dimensions: int, vectors: bytes) -> bool:
        """See `ports.Jobs.store`."""
        with self._sessions.transaction(ref.job.tenant_id) as connection:
            return storing.store(connection, ref, fingerprint, dimensions, vectors)

    def fail(self, ref: JobRef, error: JobError) -> bool:
        """See `ports.Jobs.fail`."""
        parameters = fence(ref)
        with self._sessions.transaction(ref.tenant_id) as connection:
            if not lock_document(connection, parameters):
                return False
            return stop_jobs(connection, parameters, JobStatus.FAILED, error) == 1

    def spend_attempt(self, ref: JobRef, batch_no: int | None = None) -> int:
        """See `ports.Jobs.spend_attempt`."""
        with self._sessions.transaction(ref.tenant_id) as connection:
            if batch_no is not None:
                return storing.spend_attempt(connection, BatchRef(ref, batch_no))
            parameters = fence(ref)
            if not lock_document(connection, parameters):
                return 0
            row = connection.execute(statement("jobs", "spend_attempt"), parameters).fetchone()
            return int(row["attempts"]) if row else 0

    def check(self) -> None:
        """See `ports.Jobs.check`."""
        with self._sessions.transaction() as connection:
            connection.execute(statement("sessions", "answer"))
