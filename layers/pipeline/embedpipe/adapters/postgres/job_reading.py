"""Jobs as a reader sees them."""

from __future__ import annotations

from typing import Any

from embedpipe.adapters.cursors import decode_job_cursor, encode_job_cursor
from embedpipe.adapters.postgres.sessions import Connection
from embedpipe.domain.jobs import Job, JobError, JobStatus
from embedpipe.errors import NotFoundError
from embedpipe.ports import Page
from embedpipe.sql import statement

_COLUMNS = (
    "tenant_id",
    "collection",
    "document_id",
    "version",
    "epoch",
    "tier",
    "priority",
    "chunks_total",
    "chunks_stored",
    "tokens_total",
    "cost_usd",
    "attempts",
    "created_at",
    "chunking_at",
    "embedding_at",
    "storing_at",
    "finished_at",
)


def job_not_found() -> NotFoundError:
    """Give the error for a job that is not there, or is another tenant's."""
    return NotFoundError("there is no such job", code="JOB_NOT_FOUND")


def job_of(row: dict[str, Any], metadata: dict[str, Any]) -> Job:
    """Give the job of a row of `jobs` with its `chunks_stored`."""
    code = row["error_code"]
    error = JobError(code, row["failure_type"], row["error_message"]) if code else None
    return Job(
        job_id=str(row["job_id"]),
        status=JobStatus(row["status"]),
        error=error,
        metadata=metadata,
        **{name: row[name] for name in _COLUMNS},
    )


def read_job(connection: Connection, parameters: dict[str, Any]) -> Job:
    """Read the job of `tenant_id` and `job_id`. Raises NotFoundError (JOB_NOT_FOUND)."""
    row = connection.execute(statement("jobs", "read"), parameters).fetchone()
    if row is None:
        raise job_not_found()
    return job_of(row, row["metadata"])


def list_jobs(connection: Connection, parameters: dict[str, Any], cursor: str | None) -> Page[Job]:
    """Read a page of jobs; parameters are tenant_id, status, collection and limit."""
    before, before_job = decode_job_cursor(cursor) if cursor else (None, None)
    limit = parameters["limit"]
    rows = connection.execute(
        statement("jobs", "list"),
        {**parameters, "limit": limit + 1, "before": before, "before_job": before_job},
    ).fetchall()
    jobs = [job_of(row, row["metadata"]) for row in rows[:limit]]
    more = len(rows) > limit and jobs
    return Page(jobs, encode_job_cursor(jobs[-1].created_at, jobs[-1].job_id) if more else None)
