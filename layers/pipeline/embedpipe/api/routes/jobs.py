"""Jobs: submit a document, follow its job, cancel it."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.answers import Accepted, JobAnswer, Listing
from embedpipe.api.operations import MAX_BODY_BYTES, Call, Noun, Reply
from embedpipe.api.requests import JobsQuery, SubmitRequest
from embedpipe.api.submission import submitted
from embedpipe.domain.jobs import JobStatus

jobs = Noun("jobs")


@jobs.post(
    "/embeddings/jobs",
    "Submit a document to embed",
    body=SubmitRequest,
    answer=Accepted,
    status=HTTPStatus.ACCEPTED,
    errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    headers=("Location", "Idempotency-Replayed"),
    is_idempotent_by_key=True,
    max_body_bytes=MAX_BODY_BYTES,
)
def submit_job(call: Call, body: SubmitRequest) -> Reply:
    """Admit a document, as the next version if its id is known, and start its job."""
    return submitted(call, body, body.collection, body.document_id)


@jobs.get("/embeddings/jobs", "List jobs, newest first", query=JobsQuery, answer=Listing[JobAnswer])
def list_jobs(call: Call, query: JobsQuery) -> Reply:
    """List the tenant's jobs."""
    page = call.services.database.jobs.list(
        call.tenant_id,
        status=JobStatus(query.status) if query.status else None,
        collection=query.collection,
        limit=query.limit,
        cursor=query.cursor,
    )
    items = [JobAnswer.of(job) for job in page.items]
    return Reply(Listing[JobAnswer](items=items, cursor=page.cursor))


@jobs.get("/embeddings/jobs/{job_id}", "Follow a job", answer=JobAnswer)
def get_job(call: Call, job_id: str) -> Reply:
    """Read a job's status and progress."""
    return Reply(JobAnswer.of(call.services.database.jobs.get(call.tenant_id, job_id)))


@jobs.delete(
    "/embeddings/jobs/{job_id}",
    "Cancel a job",
    answer=JobAnswer,
    errors=(HTTPStatus.CONFLICT,),
)
def cancel_job(call: Call, job_id: str) -> Reply:
    """Cancel a job that is not final; it leaves no vectors."""
    return Reply(JobAnswer.of(call.services.database.jobs.cancel(call.tenant_id, job_id)))
