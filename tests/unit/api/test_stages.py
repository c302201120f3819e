from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.adapters.memory.database_state import utc_now
from embedpipe.adapters.memory.event_sources import MemoryEventSources
from embedpipe.ports import Outgoing
from embedpipe.stages.controls import ControlReader

from tests.unit.api.client import Answer, Client

PATH = "/embeddings/stage/control"
QUEUES = ("chunk", "embed_high", "embed", "embed_low", "store")


class Bench(Client):
    """An API that knows every queue and the event source mappings; time is told to it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ahead = timedelta()
        self.database = MemoryDatabase(clock=lambda: utc_now() + self.ahead)
        for tenant in ("default", "other"):
            self.database.create_tenant(tenant, self.model)
        self.queues = {name: MemoryQueue(name) for name in QUEUES}
        self.queue = self.queues["chunk"]
        self.event_sources = MemoryEventSources()
        self.services = replace(
            self.services,
            database=self.database,
            chunk_queue=self.queue,
            queues=self.queues,
            controls=ControlReader(self.database.controls, kept_s=0.0),
            event_sources=self.event_sources,
        )

    def act(self, stage: str, action: str, **fields: Any) -> Answer:
        return self.send("POST", PATH, {"stage": stage, "action": action} | fields)

    def stages(self) -> dict[str, Any]:
        found: dict[str, Any] = self.send("GET", PATH).json["stages"]
        return found

    def queue_message(self) -> list[Outgoing]:
        return [Outgoing("0", "{}", group_id="default")]

    def pass_time(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@pytest.fixture
def client() -> Bench:
    return Bench()


def test_every_stage_runs_at_first(client: Bench) -> None:
    answer = client.send("GET", PATH)

    assert answer.status == 200
    assert list(answer.json["stages"]) == ["submit", "chunk", "embed", "store"]
    assert {one["state"] for one in answer.json["stages"].values()} == {"running"}
    assert not any(one["drained"] for one in answer.json["stages"].values())
    assert answer.json["problems"] == []


def test_a_pause_says_who_and_why_and_switches_the_event_source(client: Bench) -> None:
    answer = client.act("chunk", "pause", note="the database is moved")

    chunk = answer.json["stages"]["chunk"]
    assert answer.status == 200
    assert (chunk["state"], chunk["changed_by"]) == ("paused", "single-user")
    assert chunk["note"] == "the database is moved"
    assert chunk["event_source"] == "Disabled"
    assert answer.json["stages"]["store"]["event_source"] == "Enabled"
    assert answer.json["stages"]["embed"]["event_source"] is None
    [written] = client.database.audits.list().items
    assert (written.actor, written.action, written.subject) == (
        "single-user",
        "stage.pause",
        "chunk",
    )
    assert (written.tenant_id, written.result) == ("default", "paused")


def test_a_resume_switches_it_back(client: Bench) -> None:
    client.act("store", "pause")

    answer = client.act("store", "resume")

    store = answer.json["stages"]["store"]
    assert (store["state"], store["event_source"]) == ("running", "Enabled")


def test_a_drain_of_a_paused_stage_lets_it_work_again(client: Bench) -> None:
    client.act("chunk", "pause")

    answer = client.act("chunk", "drain")

    chunk = answer.json["stages"]["chunk"]
    assert (chunk["state"], chunk["event_source"]) == ("draining", "Enabled")


def test_the_older_names_are_taken_and_all_means_all(client: Bench) -> None:
    client.act("storage", "pause")
    first = {name: one["state"] for name, one in client.stages().items()}
    client.act("all", "pause", note="everything stands still")

    assert first == {
        "submit": "running",
        "chunk": "running",
        "embed": "running",
        "store": "paused",
    }
    assert {one["state"] for one in client.stages().values()} == {"paused"}
    assert set(client.event_sources.states().values()) == {"Disabled"}
    assert len(client.database.audits.list().items) == 5


def test_the_same_act_twice_changes_nothing(client: Bench) -> None:
    first = client.act("embed", "pause").json["stages"]["embed"]
    client.pass_time(60)

    again = client.act("embed", "pause", note="once more").json["stages"]["embed"]

    assert again == first
    results = [entry.result for entry in client.database.audits.list().items]
    assert results == ["unchanged", "paused"]


def test_what_could_not_be_switched_is_named_and_the_pause_holds(client: Bench) -> None:
    client.event_sources.is_available = False

    answer = client.act("all", "pause")

    assert answer.status == 200
    assert {one["state"] for one in answer.json["stages"].values()} == {"paused"}
    assert answer.json["problems"] == [
        {"stage": stage, "code": "EVENT_SOURCE_UNAVAILABLE"}
        for stage in ("chunk", "embed", "store")
    ]
    assert {one["event_source"] for one in answer.json["stages"].values()} == {None}


def test_once_more_switches_what_could_not_be_switched(client: Bench) -> None:
    client.event_sources.is_available = False
    client.act("chunk", "pause")
    client.event_sources.is_available = True

    client.act("chunk", "pause")

    assert client.event_sources.states()["chunk"] == "Disabled"


def test_without_event_sources_the_control_is_all_there_is(client: Bench) -> None:
    client.services = replace(client.services, event_sources=None)

    answer = client.act("chunk", "pause")

    assert (answer.status, answer.json["problems"]) == (200, [])
    assert answer.json["stages"]["chunk"]["state"] == "paused"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"stage": "search", "action": "pause"}, "INVALID_CHOICE"),
        ({"stage": "embed", "action": "stop"}, "INVALID_CHOICE"),
        ({"stage": "embed"}, "MISSING_FIELD"),
        ({"stage": ["embed"], "action": "pause"}, "INVALID_CHOICE"),
        ({"stage": "embed", "action": "pause", "note": "x" * 1001}, "TOO_LONG"),
    ],
)
def test_what_is_not_allowed_is_refused_and_changes_nothing(
    client: Bench, body: dict[str, Any], code: str
) -> None:
    answer = client.send("POST", PATH, body)

    assert (answer.status, answer.json["code"]) == (422, code)
    assert {one["state"] for one in client.stages().values()} == {"running"}
    assert client.database.audits.list().items == []


def test_only_administrators_may(client: Bench) -> None:
    key = client.database.create_key("other", "user")

    assert client.send("GET", PATH, key=key).status == 403
    body = {"stage": "embed", "action": "pause"}
    assert client.send("POST", PATH, body, key=key).status == 403
    assert client.database.controls.get("embed").state == "running"


# ----------------------------------------------------------------------------- admission and drain


def test_while_the_door_is_paused_nothing_is_admitted(client: Bench) -> None:
    client.act("submit", "pause")

    answer = client.submit()

    assert (answer.status, answer.json["code"]) == (503, "PAUSED")
    assert answer.headers["Retry-After"] == "30"
    assert client.database.rows("jobs") == []
    assert client.queue.bodies() == []


@pytest.mark.parametrize("stage", ["submit", "chunk", "embed", "store"])
def test_while_a_stage_drains_nothing_is_admitted(client: Bench, stage: str) -> None:
    client.act(stage, "drain")

    answer = client.submit()
    put = client.send("PUT", "/collections/default/documents/doc", {"content": "Some words."})

    assert (answer.status, answer.json["code"]) == (503, "DRAINING")
    assert "Retry-After" in answer.headers
    assert put.json["code"] == "DRAINING"
    assert client.database.rows("jobs") == []


def test_texts_that_would_become_a_job_are_refused_and_few_are_computed(client: Bench) -> None:
    client.act("embed", "drain")
    batch = "/embeddings/batch"

    refused = client.send("POST", batch, {"inputs": ["many"] * 300, "model": "fake"})
    computed = client.send("POST", batch, {"inputs": ["few"], "model": "fake"})

    assert (refused.status, refused.json["code"]) == (503, "DRAINING")
    assert computed.status == 200


@pytest.mark.parametrize("stage", ["chunk", "embed", "store"])
def test_a_paused_stage_behind_the_door_keeps_nobody_out(client: Bench, stage: str) -> None:
    client.act(stage, "pause")

    assert client.submit().status == 202


def test_reading_and_search_go_on(client: Bench) -> None:
    job_id = client.submit().json["job_id"]
    client.act("all", "drain")

    assert client.send("GET", f"/embeddings/jobs/{job_id}").status == 200
    found = client.send("POST", "/vector_stores/default/search", {"query": "words"})
    assert found.status == 200
    assert client.send("DELETE", f"/embeddings/jobs/{job_id}").status == 200


def test_a_resume_opens_the_door(client: Bench) -> None:
    client.act("embed", "drain")
    client.act("embed", "resume")

    assert client.submit().status == 202


def test_a_stage_is_drained_when_it_and_those_before_it_are_empty(client: Bench) -> None:
    client.submit()
    client.act("embed", "drain")
    client.pass_time(60)
    with_job = client.stages()["embed"]["drained"]

    [job] = client.database.rows("jobs")
    client.database.jobs.cancel("default", job["job_id"])
    with_message = client.stages()["embed"]["drained"]
    client.queue.ack(client.queue.receive())

    assert (with_job, with_message) == (False, False)
    assert {name: one["drained"] for name, one in client.stages().items()} == {
        "submit": False,
        "chunk": False,
        "embed": True,
        "store": False,
    }


def test_what_waits_behind_a_stage_does_not_keep_it_from_being_drained(client: Bench) -> None:
    client.act("embed", "drain")
    client.pass_time(60)
    client.queues["store"].send(client.queue_message())

    assert client.stages()["embed"]["drained"]


@pytest.mark.parametrize("lane", ["embed_high", "embed", "embed_low"])
def test_every_lane_counts(client: Bench, lane: str) -> None:
    client.act("embed", "drain")
    client.act("store", "drain")
    client.act("chunk", "drain")
    client.pass_time(60)
    client.queues[lane].send(client.queue_message())

    drained = {name for name, one in client.stages().items() if one["drained"]}

    assert drained == {"chunk"}


def test_nothing_is_drained_before_everybody_can_know_of_it(client: Bench) -> None:
    client.act("store", "drain")
    at_once = client.stages()["store"]["drained"]
    client.pass_time(6)

    assert not at_once
    assert client.stages()["store"]["drained"]


def test_a_queue_that_does_not_answer_says_nothing_about_drained(client: Bench) -> None:
    client.act("store", "drain")
    client.pass_time(60)
    client.queues["embed"].is_available = False

    answer = client.send("GET", PATH)

    assert answer.status == 200
    assert not answer.json["stages"]["store"]["drained"]
    assert answer.json["problems"] == [{"stage": None, "code": "QUEUE_UNAVAILABLE"}]
