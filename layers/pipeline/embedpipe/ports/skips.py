"""Port to taking jobs out: one that is known to be poison, or all that are open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from embedpipe.domain.audit import Act
from embedpipe.domain.jobs import JobError, JobStatus

#: The shortest time that a job can be skipped for.
MIN_TTL_S = 60
#: A week.
DEFAULT_TTL_S = 604_800
#: A year.
MAX_TTL_S = 31_536_000
SKIPPED = JobError("SKIPPED", "permanent", "skipped by an operator")
CLEARED = JobError("CLEARED", "permanent", "cancelled by an operator with all others")


@dataclass(frozen=True)
class Skip:
    """A job that is not processed until `expires_at`."""

    tenant_id: str
    job_id: str
    created_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Skipped:
    """What a skip did; without `was_cancelled` the job had the final status already."""

    skip: Skip
    status: JobStatus
    was_cancelled: bool


class Skips(Protocol):
    """Jobs of all tenants that operators took out.

    While a skip is active no stage begins or stores anything of its job, and nothing restarts it:
    a stage that meets such a job cancels it. Times are the database's.
    """

    def skip(self, job_id: str, ttl_s: float, act: Act) -> Skipped:
        """Skip a job for so long from now, cancel it with code SKIPPED, and write the act down.

        One transaction. Raises NotFoundError (JOB_NOT_FOUND).
        """
        ...

    def get(self, job_id: str) -> Skip | None:
        """Give the active skip of a job, if any. Raises NotFoundError (JOB_NOT_FOUND)."""
        ...

    def cancel_open(
        self, tenant_id: str, act: Act, *, collection: str | None = None, limit: int = 100
    ) -> int:
        """Cancel open jobs of a tenant with code CLEARED, and write the act down; say how many.

        One transaction, and nothing written down when it cancels none. What somebody else works on
        at the moment is left for the next call.
        """
        ...

    def remove_expired(self, limit: int = 1000) -> int:
        """Remove skips that are over. Needs the maintenance role."""
        ...
