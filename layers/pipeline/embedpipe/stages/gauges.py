"""Gauges: what is measured each minute, and whenever somebody asks. Nothing unknown is a zero."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embedpipe.domain.controls import STAGES, StageState
from embedpipe.errors import StoreUnavailableError
from embedpipe.stages.snapshot import Snapshot, Sources, snapshot

#: What the counts look back on: how often maintenance runs.
WINDOW_S = 60.0
#: The stage of what belongs to no stage of the pipeline.
OF_NONE = "maintenance"


@dataclass(frozen=True)
class Gauge:
    """One number of one stage. The names are `telemetry.GAUGES`."""

    name: str
    stage: str
    value: float


def gauges(sources: Sources) -> list[Gauge]:
    """Measure everything; what does not answer is left out."""
    seen = snapshot(sources, window_s=WINDOW_S)
    return [*_of_queues(seen), *_of_database(seen), *_of_letters(sources)]


def _of_queues(seen: Snapshot) -> Iterator[Gauge]:
    for stage in STAGES:
        if (depth := seen.depth(stage)) is not None:
            yield Gauge("queue_depth", stage, depth)
    for stage, depths in seen.dlqs.items():
        if depths is not None:
            yield Gauge("dlq_depth", stage, depths.total)


def _of_database(seen: Snapshot) -> Iterator[Gauge]:
    if not seen.knows("database"):
        return
    held = {control.stage for control in seen.controls if control.state is StageState.PAUSED}
    for stage in STAGES:
        stalled = [worker.is_stalled for worker in seen.workers if worker.stage == stage]
        yield Gauge("queue_age_seconds", stage, seen.work.ages_s[stage])
        yield Gauge("jobs_processed", stage, seen.counts[stage].processed)
        yield Gauge("jobs_failed", stage, seen.counts[stage].failed)
        yield Gauge("workers_active", stage, stalled.count(False))
        yield Gauge("workers_stalled", stage, stalled.count(True))
        yield Gauge("stage_paused", stage, int(stage in held))
    yield Gauge("outbox_rows", OF_NONE, seen.work.outbox_rows)
    yield Gauge("outbox_age_seconds", OF_NONE, seen.work.outbox_age_s)


def _of_letters(sources: Sources) -> Iterator[Gauge]:
    try:
        arrivals = sources.database.overview.arrivals(WINDOW_S)
    except StoreUnavailableError:
        return
    for stage in STAGES:
        yield Gauge("dlq_arrivals", stage, arrivals[stage])


def prometheus(measured: list[Gauge]) -> str:
    """Give gauges in the text format of Prometheus."""
    lines: list[str] = []
    for name in dict.fromkeys(gauge.name for gauge in measured):
        full = f"embedpipe_{name}"
        lines.append(f"# TYPE {full} gauge")
        lines += [
            f'{full}{{stage="{gauge.stage}"}} {gauge.value}'
            for gauge in measured
            if gauge.name == name
        ]
    return "\n".join(lines) + "\n"
