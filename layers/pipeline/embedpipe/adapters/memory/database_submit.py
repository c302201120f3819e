"""Admission in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable

from embedpipe.adapters.memory.database_rows import DocumentRow, JobRow, VersionRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.jobs import JobError, JobStatus, NewJob
from embedpipe.errors import ConflictError
from embedpipe.ports import Admission, OutboxRow


def admit(state: State, job: NewJob, outbox: Callable[[Admission], OutboxRow]) -> Admission:
    """See `ports.Jobs.admit`; the caller holds the lock."""
    seen = _seen(state, job)
    if seen is not None:
        return seen
    state.collection(job.tenant_id, job.collection)
    key = (job.tenant_id, job.collection, job.document_id)
    document = state.documents.get(key)
    version = document.latest_version + 1 if document else 1
    admission = Admission(
        job_id=job.job_id,
        document_id=job.document_id,
        version=version,
        status=JobStatus.QUEUED,
        epoch=1,
        created=True,
    )
    row = outbox(admission)
    for older in state.open_jobs(*key):
        error = JobError("SUPERSEDED", "permanent", "a newer version was admitted")
        state.finish(older, JobStatus.CANCELLED, error)
    now = state.now()
    if document is None:
        state.documents[key] = DocumentRow(*key, 1, None, now, now)
    else:
        document.latest_version, document.updated_at = version, now
    _insert(state, job, version)
    state.add_outbox([row])
    return admission


def _seen(state: State, job: NewJob) -> Admission | None:
    if job.idempotency_key is None:
        return None
    for row in state.jobs.values():
        if (row.tenant_id, row.idempotency_key) != (job.tenant_id, job.idempotency_key):
            continue
        if row.request_sha256 != job.request_sha256:
            raise ConflictError(
                "the Idempotency-Key was used with another request", code="IDEMPOTENCY_KEY_REUSED"
            )
        return Admission(
            job_id=row.job_id,
            document_id=row.document_id,
            version=row.version,
            status=row.status,
            epoch=row.epoch,
            created=False,
        )
    return None


def _insert(state: State, job: NewJob, version: int) -> None:
    now = state.now()
    key = (job.tenant_id, job.collection, job.document_id, version)
    state.document_versions[key] = VersionRow(
        *key,
        content=job.content,
        content_uri=job.content_uri,
        content_sha256=job.content_sha256,
        content_bytes=job.content_bytes,
        content_type=job.content_type,
        chunking=job.chunking,
        metadata=copy.deepcopy(job.metadata),
        created_at=now,
    )
    state.jobs[job.tenant_id, job.job_id] = JobRow(
        tenant_id=job.tenant_id,
        job_id=job.job_id,
        collection=job.collection,
        document_id=job.document_id,
        version=version,
        tier=state.tenants[job.tenant_id],
        priority=job.priority,
        idempotency_key=job.idempotency_key,
        request_sha256=job.request_sha256,
        traceparent=job.traceparent,
        created_at=now,
    )
