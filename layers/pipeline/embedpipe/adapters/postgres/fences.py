"""What every fenced change of a job begins with."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from embedpipe.adapters.postgres.sessions import Connection
from embedpipe.domain.jobs import JobError, JobRef, JobStatus
from embedpipe.sql import statement


def fence(ref: JobRef) -> dict[str, Any]:
    """Give the parameters that compare a job's row with what a message holds."""
    return {
        "tenant_id": ref.tenant_id,
        "job_id": ref.job_id,
        "epoch": ref.epoch,
        "collection": ref.collection,
        "document_id": ref.document_id,
        "version": ref.version,
    }


def is_job_id(text: str) -> bool:
    """Whether it can be a job's id at all; what cannot is not found instead of an error."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def lock_document(connection: Connection, parameters: dict[str, Any]) -> bool:
    """Lock the row of a document, before any of its jobs; False when there is none."""
    locked = connection.execute(statement("jobs", "lock_document"), parameters)
    return locked.fetchone() is not None


def stop_jobs(
    connection: Connection,
    parameters: dict[str, Any],
    status: JobStatus,
    error: JobError,
) -> int:
    """End jobs of a locked document that are not final and remove what they stored.

    Parameters
    ----------
    parameters
        tenant_id, collection, document_id; and job_id, epoch, version to narrow it down.

    Returns
    -------
    How many jobs ended.
    """
    wanted = {
        "job_id": None,
        "epoch": None,
        "version": None,
        **parameters,
        "status": status.value,
        "error_code": error.code,
        "failure_type": error.failure_type,
        "error_message": error.message,
    }
    return connection.execute(statement("jobs", "stop"), wanted).rowcount
