"""What both databases say and write about dead letters."""

from __future__ import annotations

from dataclasses import replace

from embedpipe.domain.dead_letters import JobState, Worth
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import ConflictError, NotFoundError
from embedpipe.ports import OutboxRow
from embedpipe.ports.dlq_entries import Entry


def refuse(judged: Worth) -> None:
    """Raise what keeps an entry from being put back."""
    if judged is Worth.OBSOLETE:
        raise ConflictError(
            "its job is over, gone, or has gone on without it", code="DLQ_ENTRY_OBSOLETE"
        )
    if judged is Worth.SKIPPED:
        raise ConflictError("its job is skipped", code="JOB_SKIPPED")


def row_of(entry: Entry, job: JobState | None, body: str, tenant_id: str) -> OutboxRow:
    """Give the row that takes an entry's message back to its queue, as it is."""
    key = f"{job.ref.job_id}/{job.ref.epoch}" if job else "dlq"
    return OutboxRow(tenant_id, entry.source_queue, f"{key}/{entry.entry_id}", body)


def with_epoch(job: JobState, epoch: int) -> JobState:
    """Give a job as it is in the epoch that was opened for it."""
    return replace(
        job, ref=replace(job.ref, epoch=epoch), status=JobStatus.QUEUED, is_chunked=False
    )


def not_approved() -> ConflictError:
    """Say that nobody approved it."""
    return ConflictError("the entry is not approved for requeue", code="NOT_APPROVED")


def entry_not_found() -> NotFoundError:
    """Say that there is none."""
    return NotFoundError("there is no such entry", code="DLQ_ENTRY_NOT_FOUND")


def requeued_already() -> ConflictError:
    """Say that it is too late to decide."""
    return ConflictError("the entry was put back already", code="DLQ_ENTRY_REQUEUED")


def not_running() -> ConflictError:
    """Say that there is nothing to cancel."""
    return ConflictError("no redrive of this stage goes on", code="REDRIVE_NOT_RUNNING")
