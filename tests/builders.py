"""Values that tests need, with sensible defaults and overrides."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from embedpipe.domain.jobs import BatchRef, Chunking, JobRef, NewJob
from embedpipe.ports import Admission, Database, ModelInfo, NewBatch, NewChunk, OutboxRow

#: The model of the collection `default` of every test tenant.
MODEL = ModelInfo(model_id="tiny", fingerprint="a" * 64, dimensions=3, max_tokens=16)


def a_new_job(**overrides: Any) -> NewJob:
    """An admitted request of tenant `acme`."""
    job = NewJob(
        tenant_id="acme",
        job_id=str(uuid4()),
        collection="default",
        document_id="doc",
        content="some text",
        content_uri=None,
        content_sha256="c" * 64,
        content_bytes=9,
        content_type="text/plain",
        chunking=Chunking(),
    )
    return replace(job, **overrides)


def a_message(job: NewJob, key: str = "") -> OutboxRow:
    """The outbox row that goes with an admission."""
    return OutboxRow(job.tenant_id, "chunk", key or job.job_id, "{}")


def admit(database: Database, **overrides: Any) -> JobRef:
    """Admit a document and give the reference that its messages would carry."""
    job = a_new_job(**overrides)
    return a_ref(job, database.jobs.admit(job, lambda _: a_message(job)))


def a_ref(job: NewJob, admission: Admission) -> JobRef:
    """What messages of an admitted job hold."""
    return JobRef(
        tenant_id=job.tenant_id,
        job_id=admission.job_id,
        epoch=admission.epoch,
        collection=job.collection,
        document_id=admission.document_id,
        version=admission.version,
    )


def some_chunks(count: int, *, text: str = "chunk") -> list[NewChunk]:
    """Chunks with texts `chunk-0`, `chunk-1`, ..."""
    return [
        NewChunk(
            index=at,
            start=at * 100,
            end=at * 100 + len(f"{text}-{at}"),
            text=f"{text}-{at}",
            tokens=2,
            content_sha256="d" * 64,
        )
        for at in range(count)
    ]


def some_batches(chunks: int, size: int) -> list[NewBatch]:
    """Batches of `size` over so many chunks."""
    return [
        NewBatch(number, start, min(size, chunks - start))
        for number, start in enumerate(range(0, chunks, size))
    ]


def a_vector(at: int = 0) -> list[float]:
    """A vector that differs by number; the lower the number, the nearer to [1, 0, 0]."""
    return [1.0, at / 8, 0.0]


def packed(vectors: Sequence[Sequence[float]]) -> bytes:
    """Vectors as a store message carries them."""
    return array("f", [value for vector in vectors for value in vector]).tobytes()


@dataclass(frozen=True)
class ChunkedJob:
    """A job whose chunks are written and whose batches are pending."""

    ref: JobRef
    batches: list[NewBatch]

    @property
    def refs(self) -> list[BatchRef]:
        """Its batches as their messages hold them."""
        return [BatchRef(self.ref, batch.batch_no) for batch in self.batches]


def finish(database: Database, ref: JobRef, *, chunks: int = 2, size: int = 1) -> ChunkedJob:
    """Write the chunks of a job."""
    batches = some_batches(chunks, size)
    rows = [OutboxRow(ref.tenant_id, "embed", f"{ref.job_id}/{b.batch_no}", "{}") for b in batches]
    assert database.jobs.finish_chunking(ref, some_chunks(chunks), batches, rows)
    return ChunkedJob(ref, batches)


def a_chunked_job(
    database: Database, *, chunks: int = 2, size: int = 1, **overrides: Any
) -> ChunkedJob:
    """Admit a document and write its chunks."""
    ref = admit(database, **overrides)
    assert database.jobs.begin_chunking(ref) is not None
    return finish(database, ref, chunks=chunks, size=size)


def store(database: Database, job: ChunkedJob, number: int, *, at: int | None = None) -> bool:
    """Store one batch, with vectors numbered as its chunks or all by `at`."""
    batch = job.batches[number]
    numbers = [batch.chunk_from + i if at is None else at for i in range(batch.chunk_count)]
    vectors = packed([a_vector(n) for n in numbers])
    return database.jobs.store(job.refs[number], MODEL.fingerprint, MODEL.dimensions, vectors)


def a_stored_job(
    database: Database, *, chunks: int = 2, size: int = 1, at: int | None = None, **overrides: Any
) -> ChunkedJob:
    """Admit a document and take it all the way."""
    job = a_chunked_job(database, chunks=chunks, size=size, **overrides)
    for number in range(len(job.batches)):
        assert store(database, job, number, at=at)
    return job
