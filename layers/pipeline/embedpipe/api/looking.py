"""From what was looked at to what operators are answered."""

from __future__ import annotations

from collections.abc import Mapping

from embedpipe.api.operations import Call
from embedpipe.api.operator_answers import (
    JobMetrics,
    MetricsAnswer,
    OutboxAnswer,
    SourceProblem,
    SpreadAnswer,
    StageCount,
    StageFlags,
    StageMetrics,
    SummaryAnswer,
    WorkerCounts,
)
from embedpipe.domain.controls import STAGES, StageState
from embedpipe.ports import Depths
from embedpipe.ports.overview import Figures
from embedpipe.stages.snapshot import QUEUES, Snapshot, Sources, snapshot


def look(call: Call) -> Snapshot:
    """Look at everything."""
    return snapshot(sources(call))


def sources(call: Call) -> Sources:
    """Give what is looked at."""
    services = call.services
    return Sources(services.database, services.depths, services.dlq_depths)


def summary_of(seen: Snapshot) -> SummaryAnswer:
    """Describe a snapshot."""
    return SummaryAnswer(
        queues={name: _total(seen.queues, name) for name in QUEUES},
        dlq={stage: _total(seen.dlqs, stage) for stage in STAGES},
        ages={stage: round(seen.work.ages_s[stage], 3) for stage in STAGES},
        stages={stage: StageCount.model_validate(seen.counts[stage]) for stage in STAGES},
        flags={
            control.stage: StageFlags(
                paused=control.state is StageState.PAUSED,
                drain=control.state is StageState.DRAINING,
                drained=control.stage in seen.drained,
            )
            for control in seen.controls
        },
        outbox=_outbox(seen),
        workers=_workers(seen),
        ts=round(seen.at, 3),
        degraded=bool(seen.reasons),
        reasons=_reasons(seen),
    )


def metrics_of(seen: Snapshot, figures: Figures, window_s: float) -> MetricsAnswer:
    """Describe a window that ends with a snapshot."""
    ended = {
        "succeeded": figures.succeeded,
        "failed": figures.failed,
        "cancelled": figures.cancelled,
    }
    still_open = {status.value: count for status, count in seen.work.statuses.items()}
    return MetricsAnswer(
        window_s=window_s,
        stages={stage: _stage(stage, seen, figures, window_s) for stage in STAGES},
        jobs=JobMetrics(
            by_status=still_open | ended,
            **ended,
            per_s=round(sum(ended.values()) / window_s, 4),
            latency_s=SpreadAnswer.model_validate(figures.job_latency_s),
        ),
        tokens=figures.tokens,
        cost_usd=figures.cost_usd,
        dlq={stage: depths.total if depths else None for stage, depths in seen.dlqs.items()},
        outbox=_outbox(seen),
        workers=_workers(seen),
        ts=round(seen.at, 3),
        degraded=bool(seen.reasons),
        reasons=_reasons(seen),
    )


def _stage(stage: str, seen: Snapshot, figures: Figures, window_s: float) -> StageMetrics:
    counts = figures.counts[stage]
    return StageMetrics(
        processed=counts.processed,
        failed=counts.failed,
        rate_per_s=round(counts.processed / window_s, 4),
        latency_s=SpreadAnswer.model_validate(figures.latency_s[stage]),
        queue_depth=seen.depth(stage),
        queue_age_s=round(seen.work.ages_s[stage], 3),
    )


def _total(depths: Mapping[str, Depths | None], name: str) -> int:
    found = depths.get(name)
    return found.total if found is not None else 0


def _outbox(seen: Snapshot) -> OutboxAnswer:
    return OutboxAnswer(rows=seen.work.outbox_rows, oldest_age_s=round(seen.work.outbox_age_s, 3))


def _workers(seen: Snapshot) -> WorkerCounts:
    stalled = sum(worker.is_stalled for worker in seen.workers)
    return WorkerCounts(active=len(seen.workers) - stalled, stalled=stalled)


def _reasons(seen: Snapshot) -> list[SourceProblem]:
    return [SourceProblem.model_validate(reason) for reason in seen.reasons]
