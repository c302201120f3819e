"""What operators are answered about the pipeline as a whole; never the text of a document."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from embedpipe.api.answers import Answer, JobFailure, Progress
from embedpipe.domain.jobs import JobStatus
from embedpipe.ports.overview import OperatorJob


class StageCount(Answer):
    """Jobs that left a stage, and jobs that failed in it, in the last five minutes."""

    processed: int
    failed: int


class StageFlags(Answer):
    """What a stage is let do; `drained`: it drains, and has run empty with those before it."""

    paused: bool
    drain: bool
    drained: bool


class OutboxAnswer(Answer):
    """Messages that are committed and not sent yet."""

    rows: int
    oldest_age_s: float


class WorkerCounts(Answer):
    """Workers that send heartbeats, and those whose heartbeats are missing."""

    active: int
    stalled: int


class SourceProblem(Answer):
    """A source that did not answer: its numbers are zeros, or null in metrics."""

    source: str
    code: str


class SummaryAnswer(Answer):
    """The pipeline at this moment. The keys are always the same.

    `degraded`: a source did not answer in time, and what it would say is zero; `reasons` name it.
    """

    queues: dict[str, int] = Field(description="Messages by queue, delayed and held ones included.")
    dlq: dict[str, int] = Field(description="Dead letters by stage.")
    ages: dict[str, float] = Field(
        description="For how many seconds the oldest job has been in each stage."
    )
    stages: dict[str, StageCount]
    flags: dict[str, StageFlags]
    outbox: OutboxAnswer
    workers: WorkerCounts
    ts: float
    degraded: bool
    reasons: list[SourceProblem]


class SpreadAnswer(Answer):
    """Seconds; null where nothing was measured."""

    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class StageMetrics(Answer):
    """One stage over the window.

    `latency_s` of chunk: from admission until the chunks are written; of embed: until the first
    vectors are stored; of store: until the last ones are.
    """

    processed: int
    failed: int
    rate_per_s: float
    latency_s: SpreadAnswer
    queue_depth: int | None
    queue_age_s: float


class JobMetrics(Answer):
    """Jobs over the window; `by_status` has the open ones of this moment and those that ended."""

    by_status: dict[str, int]
    succeeded: int
    failed: int
    cancelled: int
    per_s: float
    latency_s: SpreadAnswer


class MetricsAnswer(Answer):
    """Counts, rates and latencies over a window that ends now."""

    window_s: float
    stages: dict[str, StageMetrics]
    jobs: JobMetrics
    tokens: int
    cost_usd: float
    dlq: dict[str, int | None]
    outbox: OutboxAnswer
    workers: WorkerCounts
    ts: float
    degraded: bool
    reasons: list[SourceProblem]


class OperatorJobAnswer(Answer):
    """A job of any tenant; its metadata are the tenant's own, and not shown."""

    tenant_id: str
    job_id: str
    status: JobStatus
    collection: str
    document_id: str
    version: int
    epoch: int
    tier: str
    priority: int
    progress: Progress
    tokens_total: int | None
    cost_usd: float | None
    attempts: int
    rescues: int
    error: JobFailure | None
    created_at: datetime
    chunking_at: datetime | None
    embedding_at: datetime | None
    storing_at: datetime | None
    finished_at: datetime | None
    touched_at: datetime

    @classmethod
    def of(cls, seen: OperatorJob) -> Self:
        """Describe a job."""
        own = {"progress", "rescues", "touched_at"}
        fields = {name: getattr(seen.job, name) for name in cls.model_fields if name not in own}
        return cls.model_validate(
            fields
            | {
                "progress": Progress.model_validate(seen.job),
                "rescues": seen.rescues,
                "touched_at": seen.touched_at,
            }
        )


class WorkerAnswer(Answer):
    """A worker as it was last heard of."""

    worker_id: str
    stage: str
    state: str
    since: datetime
    last_beat: datetime
    in_flight: int
    is_stalled: bool


class ResetAnswer(Answer):
    """Jobs that were found stuck; `refused` moved meanwhile, are skipped, or were being worked on.

    `job_ids` are those that started again, or would have.
    """

    matched: int
    restarted: int
    refused: int
    dry_run: bool
    job_ids: list[str]


class CleanupAnswer(Answer):
    """What was removed, or would have been; `remaining`: there is more, so ask again."""

    jobs: int
    versions: int
    audit: int
    dry_run: bool
    remaining: bool


class ClearAnswer(Answer):
    """Open jobs that were found, were cancelled, and are left: with any left, ask again."""

    matched: int
    cancelled: int
    remaining: int
    dry_run: bool


class SkipAnswer(Answer):
    """Whether a job is skipped, and until when."""

    job_id: str
    skipped: bool
    expires_at: datetime | None
    created_by: str | None


class SkippedAnswer(SkipAnswer):
    """A skip; `was_cancelled` is false when the job had its final `status` before."""

    tenant_id: str
    status: JobStatus
    was_cancelled: bool


class AuditAnswer(Answer):
    """One act: who did what to what, and what came of it."""

    audit_id: int
    tenant_id: str
    actor: str
    action: str
    subject: str
    result: str
    note: str
    at: datetime
