"""The pipeline as a whole, looked at."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.jobs import JobError, JobRef
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import Outgoing

from tests.builders import MODEL, a_stored_job
from tests.unit.api.client import Client

SUMMARY = "/embeddings/orchestrator/summary"
EVENTS = "/embeddings/orchestrator/events"
METRICS = "/embeddings/metrics"
JOBS = "/embeddings/orchestrator/jobs"
ZEROS: dict[str, Any] = {
    "queues": {"chunk": 0, "embed_high": 0, "embed": 0, "embed_low": 0, "store": 0},
    "dlq": {"chunk": 0, "embed": 0, "store": 0},
    "ages": {"chunk": 0.0, "embed": 0.0, "store": 0.0},
    "stages": {stage: {"processed": 0, "failed": 0} for stage in ("chunk", "embed", "store")},
    "flags": {
        stage: {"paused": False, "drain": False, "drained": False}
        for stage in ("submit", "chunk", "embed", "store")
    },
    "outbox": {"rows": 0, "oldest_age_s": 0.0},
    "workers": {"active": 0, "stalled": 0},
}


def pause(client: Client, stage: str) -> None:
    act = Act(Actor("default", "olga"), "stage.pause", stage)
    client.database.controls.set(stage, ControlAction.PAUSE, act)


def break_down(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the database out of reach, but for the keys that single-user mode needs none of."""

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError

    for port, name in (
        ("controls", "all"),
        ("overview", "open_work"),
        ("overview", "figures"),
        ("overview", "arrivals"),
        ("overview", "jobs"),
    ):
        monkeypatch.setattr(getattr(client.database, port), name, fail)


def ref_of(client: Client, answer: Any) -> JobRef:
    job = answer.json
    return JobRef("default", job["job_id"], 1, "default", job["document_id"], job["version"])


# --------------------------------------------------------------------------------- summary


def test_an_idle_pipeline_is_all_zeros_and_not_degraded() -> None:
    answer = Client().send("GET", SUMMARY)

    body = answer.json
    assert answer.status == 200
    assert abs(body.pop("ts") - time.time()) < 60
    assert body == {**ZEROS, "degraded": False, "reasons": []}


def test_the_summary_says_what_waits_what_is_done_and_what_is_held() -> None:
    client = Client()
    client.submit()
    client.queues["embed"].send([Outgoing("one", "{}", group_id="default", delay_s=60)])
    client.dlqs["store"].send([Outgoing("one", "{}", group_id="default")])
    client.database.heartbeats.beat("worker-1", "embed", "running", 0, 10)
    pause(client, "embed")

    body = client.send("GET", SUMMARY).json

    assert body["queues"] == {"chunk": 1, "embed_high": 0, "embed": 1, "embed_low": 0, "store": 0}
    assert body["dlq"] == {"chunk": 0, "embed": 0, "store": 1}
    assert body["ages"]["chunk"] > 0
    assert body["flags"]["embed"] == {"paused": True, "drain": False, "drained": False}
    assert body["workers"] == {"active": 1, "stalled": 0}


def test_the_summary_counts_what_stages_did() -> None:
    client = Client()
    done = ref_of(client, client.submit())
    client.database.jobs.fail(done, JobError("INTERNAL", "transient", "it failed"))

    body = client.send("GET", SUMMARY).json

    assert body["stages"]["chunk"] == {"processed": 0, "failed": 1}


def test_without_the_database_the_answer_has_the_same_keys_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Client()
    client.submit()
    break_down(client, monkeypatch)

    answer = client.send("GET", SUMMARY)

    body = answer.json
    assert answer.status == 200
    assert body.pop("ts") > 0
    assert body.pop("degraded") is True
    assert body.pop("reasons") == [{"source": "database", "code": "STORE_UNAVAILABLE"}]
    assert body == {**ZEROS, "queues": {**ZEROS["queues"], "chunk": 1}}


def test_without_the_queues_the_answer_has_the_same_keys_and_names_each() -> None:
    client = Client()
    for queue in (*client.queues.values(), *client.dlqs.values()):
        queue.is_available = False

    answer = client.send("GET", SUMMARY)

    body = answer.json
    assert answer.status == 200
    assert body["degraded"] is True
    assert {reason["code"] for reason in body["reasons"]} == {"QUEUE_UNAVAILABLE"}
    assert len(body["reasons"]) == 8
    assert {name: body[name] for name in ZEROS} == ZEROS


def test_nobody_keeps_a_look() -> None:
    client = Client()

    for path in (SUMMARY, EVENTS, METRICS, "/metrics"):
        assert client.send("GET", path).headers["Cache-Control"] == "no-store"


# ---------------------------------------------------------------------------------- events


def test_events_are_one_server_sent_event_that_says_when_to_come_again() -> None:
    client = Client()

    answer = client.send("GET", EVENTS)

    fields = dict(line.split(": ", 1) for line in answer.body.removesuffix("\n\n").split("\n"))
    data = json.loads(fields["data"])
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.body.endswith("\n\n")
    assert list(fields) == ["retry", "id", "event", "data"]
    assert (fields["retry"], fields["event"]) == ("2000", "summary")
    assert fields["id"] == str(data["ts"])
    assert set(data) == set(client.send("GET", SUMMARY).json)


# --------------------------------------------------------------------------------- metrics


def test_metrics_are_those_of_the_window() -> None:
    client = Client()
    client.database.collections.create("default", "small", MODEL, "")
    a_stored_job(client.database, tenant_id="default", collection="small")
    client.submit()

    body = client.send("GET", METRICS, query="window_seconds=60").json

    chunk = body["stages"]["chunk"]
    assert body["window_s"] == 60.0
    assert (chunk["processed"], chunk["failed"], chunk["queue_depth"]) == (1, 0, 1)
    assert chunk["rate_per_s"] == pytest.approx(1 / 60, abs=1e-4)
    assert set(chunk["latency_s"]) == {"p50", "p95", "p99", "max"}
    assert body["jobs"]["by_status"] == {
        "queued": 1,
        "chunking": 0,
        "embedding": 0,
        "storing": 0,
        "succeeded": 1,
        "failed": 0,
        "cancelled": 0,
    }
    assert (body["jobs"]["succeeded"], body["tokens"], body["degraded"]) == (1, 4, False)


def test_a_queue_that_does_not_answer_has_no_depth() -> None:
    client = Client()
    client.queues["embed_low"].is_available = False
    client.dlqs["chunk"].is_available = False

    body = client.send("GET", METRICS).json

    assert (body["stages"]["embed"]["queue_depth"], body["dlq"]["chunk"]) == (None, None)
    assert body["degraded"] is True
    assert [reason["source"] for reason in body["reasons"]] == ["queue embed_low", "dlq chunk"]


def test_without_the_database_there_are_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    break_down(client, monkeypatch)

    answer = client.send("GET", METRICS)

    assert (answer.status, answer.json["code"]) == (503, "STORE_UNAVAILABLE")


@pytest.mark.parametrize("window", ["0", "604801", "x", "1.5", "-1"])
def test_a_window_is_a_second_to_a_week(window: str) -> None:
    answer = Client().send("GET", METRICS, query=f"window_seconds={window}")

    assert (answer.status, answer.json["field"]) == (422, "window_seconds")


@pytest.mark.parametrize("base", ["", "/api/v1"])
def test_prometheus_reads_the_gauges(base: str) -> None:
    client = Client()
    client.submit()

    answer = client.send("GET", "/metrics", base=base)

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'embedpipe_queue_depth{stage="chunk"} 1\n' in answer.body


# ------------------------------------------------------------------------------------ jobs


def test_jobs_of_all_tenants_are_listed() -> None:
    client = Client()
    mine = client.submit(metadata={"plan": "secret"}).json["job_id"]
    key = client.database.create_key("other")
    theirs = client.send("POST", "/embeddings/jobs", {"content": "x"}, key=key).json["job_id"]

    answer = client.send("GET", JOBS)
    of_one = client.send("GET", JOBS, query="tenant=other")

    assert [one["job_id"] for one in answer.json["items"]] == [theirs, mine]
    assert [one["tenant_id"] for one in answer.json["items"]] == ["other", "default"]
    assert [one["job_id"] for one in of_one.json["items"]] == [theirs]
    assert "secret" not in answer.body
    assert {"rescues", "touched_at", "progress", "status"} <= set(answer.json["items"][0])


def test_each_view_shows_its_own() -> None:
    client = Client()
    failed = client.submit()
    client.database.jobs.fail(
        ref_of(client, failed), JobError("INTERNAL", "transient", "it failed")
    )
    client.submit()

    def ids(view: str) -> list[str]:
        items = client.send("GET", JOBS, query=f"view={view}").json["items"]
        return [one["status"] for one in items]

    assert ids("recent") == ["queued", "failed"]
    assert ids("failed") == ["failed"]
    assert ids("open") == ["queued"]
    assert ids("stuck") == []


def test_stuck_jobs_are_those_that_did_not_move_and_have_no_message() -> None:
    client = Client()
    job_id = client.submit().json["job_id"]

    waits = client.send("GET", JOBS, query="view=stuck&idle_seconds=0").json["items"]
    client.queue.ack(client.queue.receive(wait_s=0))
    lost = client.send("GET", JOBS, query="view=stuck&idle_seconds=0").json["items"]

    assert waits == []
    assert [one["job_id"] for one in lost] == [job_id]


def test_jobs_come_in_pages() -> None:
    client = Client()
    for _ in range(3):
        client.submit()

    first = client.send("GET", JOBS, query="limit=2").json
    second = client.send("GET", JOBS, query=f"limit=2&cursor={first['cursor']}").json
    wrong = client.send("GET", JOBS, query=f"view=failed&cursor={first['cursor']}")

    assert (len(first["items"]), len(second["items"]), second["cursor"]) == (2, 1, None)
    assert (wrong.status, wrong.json["code"]) == (422, "INVALID_CURSOR")


@pytest.mark.parametrize("query", ["view=all", "tenant=Not%20one", "idle_seconds=-1", "limit=101"])
def test_what_no_listing_has_is_refused(query: str) -> None:
    assert Client().send("GET", JOBS, query=query).status == 422


def test_workers_are_listed() -> None:
    client = Client()
    client.database.heartbeats.beat("worker-1", "embed", "paused", 3, 10)

    [worker] = client.send("GET", "/embeddings/orchestrator/workers").json["items"]

    assert {worker[name] for name in ("worker_id", "stage", "state")} == {
        "worker-1",
        "embed",
        "paused",
    }
    assert (worker["in_flight"], worker["is_stalled"]) == (3, False)
