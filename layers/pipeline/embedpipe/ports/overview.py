"""Port to what is read across tenants: open work, figures of the stages, lists of jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from embedpipe.domain.jobs import Job, JobRef, JobStatus
from embedpipe.ports.paging import Page
from embedpipe.ports.rescues import Stalled

#: In which stage a job is that is not final.
STAGE_OF = {
    JobStatus.QUEUED: "chunk",
    JobStatus.CHUNKING: "chunk",
    JobStatus.EMBEDDING: "embed",
    JobStatus.STORING: "store",
}


class View(StrEnum):
    """Which jobs are listed, and in which order."""

    #: All, newest first.
    RECENT = "recent"
    #: Those that failed, the last one first.
    FAILED = "failed"
    #: Those that are not final, the longest unmoved first.
    OPEN = "open"


@dataclass(frozen=True)
class OpenWork:
    """What is not done: jobs by status, and for how long the oldest has been in its stage.

    Attributes
    ----------
    outbox_age_s
        The oldest row's; 0 without any.
    """

    statuses: Mapping[JobStatus, int]
    ages_s: Mapping[str, float]
    outbox_rows: int = 0
    outbox_age_s: float = 0.0


@dataclass(frozen=True)
class Counts:
    """Jobs that left a stage within a window, and those that failed in it."""

    processed: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Spread:
    """Durations in seconds; None where there were none."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Figures:
    """What a window saw.

    Attributes
    ----------
    latency_s
        By stage. chunk: from admission to the chunks; embed: from the chunks to the first stored
        vectors; store: from these to the last.
    job_latency_s
        From admission to success.
    tokens, cost_usd
        Of the jobs that succeeded.
    """

    counts: Mapping[str, Counts]
    latency_s: Mapping[str, Spread]
    job_latency_s: Spread = field(default_factory=Spread)
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True)
class OperatorJob:
    """A job as an operator sees it; its `metadata`, the tenant's own, are not read."""

    job: Job
    rescues: int
    touched_at: datetime
    traceparent: str | None

    @property
    def stalled(self) -> Stalled:
        """What a restart of it needs."""
        job = self.job
        ref = JobRef(
            tenant_id=job.tenant_id,
            job_id=job.job_id,
            epoch=job.epoch,
            collection=job.collection,
            document_id=job.document_id,
            version=job.version,
        )
        return Stalled(ref, self.rescues, self.touched_at, self.traceparent)


@dataclass(frozen=True)
class Idle:
    """Which jobs count as stuck: not moved for so long, and nothing of them left to be sent.

    Attributes
    ----------
    statuses
        Where to look: not where a stage is paused.
    emptied
        Those whose queues are empty. Elsewhere late is not lost: a job counts only if another one
        overtook it, as for `Rescues.stalled`.
    """

    idle_s: float
    statuses: Collection[JobStatus]
    emptied: Collection[JobStatus]


class Overview(Protocol):
    """The control plane of all tenants, read as operator, in few and bounded queries.

    Every method raises StoreUnavailableError when the database is out of reach.
    """

    def open_work(self) -> OpenWork:
        """Give what is not done. Gives up after two seconds, as whoever asks soon asks again."""
        ...

    def counts(self, window_s: float) -> dict[str, Counts]:
        """Count what each stage did in the last seconds. Gives up after two seconds, too."""
        ...

    def arrivals(self, window_s: float) -> dict[str, int]:
        """Count the dead letters of each stage that were first seen in the last seconds."""
        ...

    def figures(self, window_s: float) -> Figures:
        """Give what the last seconds saw."""
        ...

    def jobs(
        self,
        view: View,
        *,
        tenant_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OperatorJob]:
        """List jobs. Raises InvalidInputError (INVALID_CURSOR)."""
        ...

    def stuck(
        self,
        idle: Idle,
        *,
        tenant_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OperatorJob]:
        """List jobs that stopped moving, the longest first. Raises InvalidInputError."""
        ...

    def open_by_tenant(
        self, *, tenant_id: str | None = None, collection: str | None = None
    ) -> dict[str, int]:
        """Count the jobs that are not final, by tenant."""
        ...
