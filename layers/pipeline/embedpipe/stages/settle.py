"""What becomes of a message whose work failed: retried, or its job failed and it in the DLQ."""

from __future__ import annotations

from enum import StrEnum

from embedpipe.domain.jobs import JobError, JobRef
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import (
    PermanentError,
    PipelineError,
    TransientError,
    error_code,
    failure_type,
)
from embedpipe.ports import Inbox, Jobs, Received


class Settled(StrEnum):
    """How a failed message was settled."""

    #: Hidden until its next attempt.
    RETRIED = "retried"
    #: Copied to the DLQ with the reason, its job failed, removed.
    REJECTED = "rejected"


def settle_failure(
    received: Received,
    error: Exception,
    *,
    inbox: Inbox,
    jobs: Jobs,
    policy: RetryPolicy,
    ref: JobRef | None = None,
    batch_no: int | None = None,
) -> Settled:
    """Settle a failed message by the kind of its error.

    Permanent, or retries spent: copied to the DLQ, then the job failed, then removed; a crash in
    between repeats the step and loses nothing. Else: handed back with backoff. An outage, of our
    own infrastructure or a provider, spends no attempt.

    Parameters
    ----------
    ref
        The job of the message; None when it could not be read, then no job can be failed.
    """
    about = {"attempt": str(received.receive_count)}
    if ref is not None:
        about |= {"job_id": ref.job_id, "epoch": str(ref.epoch)}
    if isinstance(error, TransientError) and not error.spends_attempt:
        delay_s = policy.outage_delay_s(received.receive_count)
        inbox.retry(received, max(delay_s, error.retry_after_s or 0.0))
        return Settled.RETRIED
    if not isinstance(error, PermanentError):
        attempts = _attempts(received, jobs, ref, batch_no)
        about["attempt"] = str(attempts)
        if not policy.is_exhausted(attempts):
            delay_s = policy.delay_s(
                attempts or received.receive_count,
                retry_after_s=getattr(error, "retry_after_s", None),
            )
            inbox.retry(received, delay_s)
            return Settled.RETRIED
    if ref is not None:
        # A copy goes to the DLQ before the job is failed: not while the database is away.
        jobs.check()
    inbox.copy_to_dlq(received, error, about)
    if ref is not None:
        jobs.fail(ref, _job_error(error))
    inbox.ack([received])
    return Settled.REJECTED


def _attempts(received: Received, jobs: Jobs, ref: JobRef | None, batch_no: int | None) -> int:
    if ref is None:
        return received.receive_count
    return jobs.spend_attempt(ref, batch_no)


def _job_error(error: Exception) -> JobError:
    message = error.message if isinstance(error, PipelineError) else type(error).__name__
    return JobError(error_code(error), failure_type(error), message)
