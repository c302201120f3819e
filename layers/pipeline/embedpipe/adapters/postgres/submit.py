"""Admission: the next version of a document with its job and its first message."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import errors
from psycopg.types.json import Jsonb

from embedpipe.adapters.postgres.fences import stop_jobs
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.jobs import JobError, JobStatus, NewJob
from embedpipe.errors import ConflictError, NotFoundError
from embedpipe.ports import Admission, OutboxRow
from embedpipe.sql import statement


def admit(sessions: Sessions, job: NewJob, outbox: Callable[[Admission], OutboxRow]) -> Admission:
    """See `ports.Jobs.admit`."""
    try:
        return _admit(sessions, job, outbox)
    except errors.UniqueViolation as exc:
        if exc.diag.constraint_name != "jobs_idempotency_unique":
            raise
        # Another request with this key committed a moment ago: now its answer is there to read.
        return _admit(sessions, job, outbox)


def _admit(sessions: Sessions, job: NewJob, outbox: Callable[[Admission], OutboxRow]) -> Admission:
    with sessions.transaction(job.tenant_id) as connection:
        if job.idempotency_key is not None:
            seen = _first_answer(connection, job)
            if seen is not None:
                return seen
        document = {
            "tenant_id": job.tenant_id,
            "collection": job.collection,
            "document_id": job.document_id,
        }
        version = _next_version(connection, document)
        admission = Admission(
            job_id=job.job_id,
            document_id=job.document_id,
            version=version,
            status=JobStatus.QUEUED,
            epoch=1,
            created=True,
        )
        if version > 1:
            error = JobError("SUPERSEDED", "permanent", "a newer version was admitted")
            stop_jobs(connection, document, JobStatus.CANCELLED, error)
        _insert(connection, job, version, outbox(admission))
        return admission


def _first_answer(connection: Connection, job: NewJob) -> Admission | None:
    parameters = {"tenant_id": job.tenant_id, "idempotency_key": job.idempotency_key}
    row = connection.execute(statement("jobs", "first_answer"), parameters).fetchone()
    if row is None:
        return None
    if row["request_sha256"] != job.request_sha256:
        raise ConflictError(
            "the Idempotency-Key was used with another request", code="IDEMPOTENCY_KEY_REUSED"
        )
    return Admission(
        job_id=str(row["job_id"]),
        document_id=row["document_id"],
        version=row["version"],
        status=JobStatus(row["status"]),
        epoch=row["epoch"],
        created=False,
    )


def _next_version(connection: Connection, document: dict[str, str]) -> int:
    try:
        row = connection.execute(statement("jobs", "next_version"), document).fetchone()
    except errors.ForeignKeyViolation:
        raise NotFoundError("there is no such collection", code="COLLECTION_NOT_FOUND") from None
    assert row is not None
    return int(row["latest_version"])


def _insert(connection: Connection, job: NewJob, version: int, message: OutboxRow) -> None:
    parameters = {
        "tenant_id": job.tenant_id,
        "job_id": job.job_id,
        "collection": job.collection,
        "document_id": job.document_id,
        "version": version,
        "content": job.content,
        "content_uri": job.content_uri,
        "content_sha256": job.content_sha256,
        "content_bytes": job.content_bytes,
        "content_type": job.content_type,
        "chunk_size": job.chunking.size,
        "chunk_overlap": job.chunking.overlap,
        "chunk_unit": job.chunking.unit,
        "metadata": Jsonb(job.metadata),
        "priority": job.priority,
        "idempotency_key": job.idempotency_key,
        "request_sha256": job.request_sha256,
        "traceparent": job.traceparent,
        "queue": message.queue,
        "message_key": message.key,
        "body": message.body,
    }
    connection.execute(statement("jobs", "insert_version_and_job"), parameters)
