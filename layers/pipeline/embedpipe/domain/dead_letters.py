"""Dead letters: their states, how long they last, and what one is worth to its job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from embedpipe.domain.jobs import JobRef, JobStatus

STAGES = ("chunk", "embed", "store")
#: What the template gives a DLQ; SQS counts from when the message was sent.
RETENTION = timedelta(days=14)
EXPIRES_SOON = timedelta(days=2)
#: How often a message whose receives were spent is put back before its job fails.
MAX_PUT_BACK = 5

#: What a copy in a DLQ carries beside the message's own attributes, and a message put back does
#: not. The later ones make room for the message's own.
REASON = (
    "error_code",
    "failure_type",
    "stage",
    "source_queue",
    "rejected_at",
    "source_message_id",
    "job_id",
    "epoch",
    "attempt",
    "first_failed_at",
)
#: How often a message was put back because its receives were spent: it counts on its own.
PUT_BACK = "put_back"


class EntryState(StrEnum):
    """What an operator decided about an entry."""

    #: Nothing yet. It is not put back.
    QUARANTINED = "quarantined"
    #: It may be put back.
    APPROVED = "approved_for_requeue"
    #: It is to stay; nothing puts it back.
    IGNORED = "ignored"
    #: It was put back; its message leaves the DLQ.
    REQUEUED = "requeued"


class Worth(StrEnum):
    """What the message of an entry is worth to its job."""

    #: The job waits for it, or it names no job: it goes back as it is.
    WANTED = "wanted"
    #: The job failed: it starts again, in a new epoch.
    RESTART = "restart"
    #: The job is over, gone, or has gone on without it.
    OBSOLETE = "obsolete"
    #: The job is under a skip.
    SKIPPED = "skipped"


@dataclass(frozen=True)
class JobState:
    """A job as it is now.

    Attributes
    ----------
    requeued_from
        The epoch of the chunk message that works for the present epoch too.
    is_chunked
        Whether the chunk stage had finished, and so other messages of the epoch were sent.
    is_outdated
        Whether its document was deleted or has a newer version.
    """

    ref: JobRef
    status: JobStatus
    requeued_from: int | None = None
    is_chunked: bool = False
    is_skipped: bool = False
    is_outdated: bool = False
    traceparent: str | None = None

    def is_of(self, stage: str, epoch: int | None) -> bool:
        """Whether a message of a stage and an epoch works for the job's present epoch."""
        if epoch is None:
            return False
        return epoch == self.ref.epoch or (stage == "chunk" and epoch == self.requeued_from)

    def keeps_body(self, stage: str) -> bool:
        """Whether the job can start again from the message of a stage itself.

        Only from the chunk stage's, and only while no other message of that epoch is about: else
        one that comes late would be taken for one of the new epoch. From later stages the vectors
        are gone, and the job begins with a message of its own.
        """
        return stage == "chunk" and not self.is_chunked


def worth(stage: str, job_id: str | None, epoch: int | None, job: JobState | None) -> Worth:
    """Say what a message is worth to the job that it names."""
    if job_id is None:
        return Worth.WANTED
    if job is None or not job.is_of(stage, epoch):
        return Worth.OBSOLETE
    if job.is_skipped:
        return Worth.SKIPPED
    if job.status is JobStatus.FAILED and not job.is_outdated:
        return Worth.RESTART
    return Worth.OBSOLETE if job.status.is_terminal else Worth.WANTED
