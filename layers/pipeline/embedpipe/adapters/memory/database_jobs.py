"""Jobs in memory: the same fence and the same effects as in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from embedpipe.adapters.cursors import decode_job_cursor, encode_job_cursor
from embedpipe.adapters.float_rows import read_rows
from embedpipe.adapters.memory.database_reading import chunk_row, read_job
from embedpipe.adapters.memory.database_rows import BatchRow, EmbeddingRow, JobRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.adapters.memory.database_submit import admit
from embedpipe.domain.jobs import BatchRef, Job, JobError, JobRef, JobStatus, NewJob, Source
from embedpipe.errors import (
    ConflictError,
    DimensionMismatchError,
    ModelMismatchError,
    NotFoundError,
)
from embedpipe.ports import Admission, NewBatch, NewChunk, OutboxRow, Page

_UNCHUNKED = (JobStatus.QUEUED, JobStatus.CHUNKING)
_CHUNKED = (JobStatus.EMBEDDING, JobStatus.STORING)


class MemoryJobs:
    """`ports.Jobs` on dictionaries."""

    def __init__(self, state: State) -> None:
        self._state = state

    def admit(self, job: NewJob, outbox: Callable[[Admission], OutboxRow]) -> Admission:
        """See `ports.Jobs.admit`."""
        with self._state.lock:
            return admit(self._state, job, outbox)

    def get(self, tenant_id: str, job_id: str) -> Job:
        """See `ports.Jobs.get`."""
        with self._state.lock:
            return read_job(self._state, self._row(tenant_id, job_id))

    def _row(self, tenant_id: str, job_id: str) -> JobRow:
        try:
            return self._state.jobs[tenant_id, job_id]
        except KeyError:
            raise NotFoundError("there is no such job", code="JOB_NOT_FOUND") from None

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
        before = decode_job_cursor(cursor) if cursor else None
        with self._state.lock:
            rows = [
                row
                for row in self._state.jobs.values()
                if row.tenant_id == tenant_id
                and (status is None or row.status is status)
                and (collection is None or row.collection == collection)
                and (before is None or (row.created_at, row.job_id) < before)
            ]
            rows.sort(key=lambda row: (row.created_at, row.job_id), reverse=True)
            page = rows[:limit]
            more = len(rows) > limit and page
            return Page(
                [read_job(self._state, row) for row in page],
                encode_job_cursor(page[-1].created_at, page[-1].job_id) if more else None,
            )

    def cancel(self, tenant_id: str, job_id: str) -> Job:
        """See `ports.Jobs.cancel`."""
        with self._state.lock:
            row = self._row(tenant_id, job_id)
            if row.status.is_terminal:
                raise ConflictError(f"the job is {row.status.value} already", code="JOB_FINAL")
            error = JobError("CANCELLED", "permanent", "cancelled on request")
            self._state.finish(row, JobStatus.CANCELLED, error)
            return read_job(self._state, row)

    def begin_chunking(self, ref: JobRef) -> Source | None:
        """See `ports.Jobs.begin_chunking`."""
        with self._state.lock:
            row = self._state.fenced(self._state.chunked_for(ref), *_UNCHUNKED)
            if row is None:
                return None
            row.move_to(JobStatus.CHUNKING)
            row.touched_at = self._state.now()
            row.chunking_at = row.chunking_at or row.touched_at
            version = self._state.document_versions[
                row.tenant_id, row.collection, row.document_id, row.version
            ]
            model = self._state.collection(row.tenant_id, row.collection)
            return Source(
                content=version.content,
                content_uri=version.content_uri,
                content_sha256=version.content_sha256,
                content_type=version.content_type,
                chunking=version.chunking,
                model_id=model.model_id,
                fingerprint=model.fingerprint,
                traceparent=row.traceparent,
                priority=row.priority,
                epoch=row.epoch,
            )

    def finish_chunking(
        self,
        ref: JobRef,
        chunks: Sequence[NewChunk],
        batches: Sequence[NewBatch],
        outbox: Sequence[OutboxRow],
    ) -> bool:
        """See `ports.Jobs.finish_chunking`."""
        with self._state.lock:
            row = self._state.fenced(ref, *_UNCHUNKED)
            if row is None:
                return False
            key = (row.tenant_id, row.collection, row.document_id, row.version)
            self._state.chunks[key] = {chunk.index: chunk_row(key, chunk) for chunk in chunks}
            for batch in batches:
                of_job = (row.tenant_id, row.job_id, row.epoch, batch.batch_no)
                self._state.batches[of_job] = BatchRow(
                    *of_job, chunk_from=batch.chunk_from, chunk_count=batch.chunk_count
                )
            self._state.add_outbox(outbox)
            row.chunks_total = len(chunks)
            row.tokens_total = sum(chunk.tokens for chunk in chunks)
            price = self._state.collection(row.tenant_id, row.collection)
            row.cost_usd = row.tokens_total * price.price_usd_per_million_tokens / 1e6
            row.move_to(JobStatus.EMBEDDING)
            row.embedding_at = row.touched_at = self._state.now()
            if not batches:
                self._state.publish(row)
            return True

    def pending(self, batches: Sequence[BatchRef]) -> set[BatchRef]:
        """See `ports.Jobs.pending`."""
        with self._state.lock:
            return {ref for ref in batches if self._pending(ref) is not None}

    def _pending(self, ref: BatchRef) -> tuple[JobRow, BatchRow] | None:
        row = self._state.fenced(ref.job, *_CHUNKED)
        if row is None:
            return None
        batch = self._state.batches.get((row.tenant_id, row.job_id, row.epoch, ref.batch_no))
        if batch is None or batch.state != "pending":
            return None
        return row, batch

    def store(self, ref: BatchRef, fingerprint: str, dimensions: int, vectors: bytes) -> bool:
        """See `ports.Jobs.store`."""
        with self._state.lock:
            found = self._pending(ref)
            if found is None:
                return False
            row, batch = found
            collection = self._state.collection(row.tenant_id, row.collection)
            if collection.fingerprint != fingerprint:
                raise ModelMismatchError
            if collection.dimensions != dimensions:
                raise DimensionMismatchError
            values = read_rows(vectors, batch.chunk_count, dimensions)
            key = (row.tenant_id, row.collection, row.document_id, row.version)
            stored = self._state.embeddings.setdefault(key, {})
            for at in range(batch.chunk_count):
                vector = values[at * dimensions : (at + 1) * dimensions].tolist()
                index = batch.chunk_from + at
                stored[index] = EmbeddingRow(*key, index, fingerprint, vector)
            batch.state = "stored"
            row.move_to(JobStatus.STORING)
            row.touched_at = self._state.now()
            row.storing_at = row.storing_at or row.touched_at
            if all(other.state == "stored" for other in self._state.batches_of(row)):
                self._state.publish(row)
            return True

    def fail(self, ref: JobRef, error: JobError) -> bool:
        """See `ports.Jobs.fail`."""
        with self._state.lock:
            row = self._state.fenced(self._state.chunked_for(ref), *_UNCHUNKED, *_CHUNKED)
            if row is None:
                return False
            self._state.finish(row, JobStatus.FAILED, error)
            return True

    def spend_attempt(self, ref: JobRef, batch_no: int | None = None) -> int:
        """See `ports.Jobs.spend_attempt`."""
        with self._state.lock:
            found: JobRow | BatchRow | None
            if batch_no is None:
                found = self._state.fenced(self._state.chunked_for(ref), *_UNCHUNKED)
            else:
                pair = self._pending(BatchRef(ref, batch_no))
                found = pair[1] if pair else None
            if found is None:
                return 0
            found.attempts += 1
            if isinstance(found, JobRow):
                found.touched_at = self._state.now()
            return found.attempts

    def check(self) -> None:
        """See `ports.Jobs.check`."""
