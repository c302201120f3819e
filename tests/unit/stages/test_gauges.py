"""Gauges: what is measured each minute."""

from __future__ import annotations

import json

import pytest
from embedpipe import telemetry
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import STAGES, ControlAction
from embedpipe.domain.jobs import JobError
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import Outgoing
from embedpipe.stages.gauges import Gauge, gauges, prometheus
from embedpipe.stages.snapshot import QUEUES, Sources

from tests.builders import MODEL, a_stored_job, admit


def some_sources() -> Sources:
    """Open, stored and failed jobs, messages in two lanes, a dead letter, a worker."""
    database = MemoryDatabase()
    database.create_tenant("acme", MODEL)
    a_stored_job(database, document_id="done")
    admit(database, document_id="open")
    error = JobError("INTERNAL", "transient", "it failed")
    database.jobs.fail(admit(database, document_id="failed"), error)
    database.heartbeats.beat("worker-1", "embed", "running", 3, 10)
    queues = {name: MemoryQueue(name) for name in QUEUES}
    for name in ("embed", "embed_low"):
        queues[name].send([Outgoing("one", "{}", group_id="acme")])
    dlqs = {stage: MemoryQueue(stage) for stage in STAGES}
    dlqs["store"].send([Outgoing("one", "{}", group_id="acme")])
    return Sources(database, queues, dlqs)


def values(found: list[Gauge], name: str) -> dict[str, float]:
    return {gauge.stage: gauge.value for gauge in found if gauge.name == name}


def test_depths_are_those_of_all_queues_of_a_stage() -> None:
    found = gauges(some_sources())

    assert values(found, "queue_depth") == {"chunk": 0, "embed": 2, "store": 0}
    assert values(found, "dlq_depth") == {"chunk": 0, "embed": 0, "store": 1}


def test_jobs_workers_and_the_outbox_are_measured() -> None:
    found = gauges(some_sources())

    assert values(found, "jobs_processed") == {"chunk": 1, "embed": 1, "store": 1}
    assert values(found, "jobs_failed") == {"chunk": 1, "embed": 0, "store": 0}
    assert values(found, "workers_active") == {"chunk": 0, "embed": 1, "store": 0}
    assert values(found, "workers_stalled") == {"chunk": 0, "embed": 0, "store": 0}
    assert values(found, "queue_age_seconds")["chunk"] > 0
    assert values(found, "outbox_rows")["maintenance"] > 0
    assert values(found, "dlq_arrivals") == {"chunk": 0, "embed": 0, "store": 0}


def test_a_stage_that_an_operator_holds_says_so_and_one_that_drains_does_not() -> None:
    sources = some_sources()
    by = Actor("ops", "ops")
    sources.database.controls.set("embed", ControlAction.PAUSE, Act(by, "stage.pause", "embed"))
    sources.database.controls.set("store", ControlAction.DRAIN, Act(by, "stage.drain", "store"))

    found = gauges(sources)

    assert values(found, "stage_paused") == {"chunk": 0, "embed": 1, "store": 0}


def test_what_does_not_answer_is_left_out_and_never_zero() -> None:
    sources = some_sources()
    queue, dlq = sources.queues["embed_high"], sources.dlqs["chunk"]
    assert isinstance(queue, MemoryQueue)
    assert isinstance(dlq, MemoryQueue)
    queue.is_available = dlq.is_available = False

    found = gauges(sources)

    assert values(found, "queue_depth") == {"chunk": 0, "store": 0}
    assert values(found, "dlq_depth") == {"embed": 0, "store": 1}
    assert values(found, "jobs_processed")


def test_without_the_database_only_queues_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = some_sources()

    def fail(*_: object) -> None:
        raise StoreUnavailableError

    for name in ("open_work", "arrivals"):
        monkeypatch.setattr(sources.database.overview, name, fail)

    assert {gauge.name for gauge in gauges(sources)} == {"queue_depth", "dlq_depth"}


def test_prometheus_reads_one_line_for_each_stage() -> None:
    text = prometheus([Gauge("queue_depth", "chunk", 1_234_567), Gauge("queue_depth", "embed", 0)])

    assert text == (
        "# TYPE embedpipe_queue_depth gauge\n"
        'embedpipe_queue_depth{stage="chunk"} 1234567\n'
        'embedpipe_queue_depth{stage="embed"} 0\n'
    )


def test_every_gauge_is_a_metric_with_the_one_dimension_stage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = gauges(some_sources())

    told = telemetry.tell(found)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == len(found)
    assert {gauge.name for gauge in found} == set(telemetry.GAUGES)
    assert {line["stage"] for line in lines} == {*STAGES, "maintenance"}
    assert [line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for line in lines] == [
        [["stage"]]
    ] * len(lines)
    [embed] = [line for line in lines if line["stage"] == "embed"]
    assert embed["QueueDepth"] == [2.0]
    assert embed["WorkersStalled"] == [0.0]
