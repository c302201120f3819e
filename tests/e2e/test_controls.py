"""Stages that are paused, resumed and drained under load."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.texts import a_text

CONTROL = "/embeddings/stage/control"
QUEUES = {"chunk": "ChunkQueue", "embed": "EmbedQueue", "store": "StoreQueue"}
#: Where a job stands that waits for a stage.
WAITING = {"chunk": "queued", "embed": "embedding", "store": "embedding"}
#: How long after an act nothing is received any more.
TAKES_S = 10.0
#: Longer than a poll takes, and than the visibility timeout of what would be received.
LOOKED_AT_S = 6.0


def control(client: Client, stage: str, action: str) -> dict[str, Any]:
    """Set a control; give what is said of the stages."""
    body = {"stage": stage, "action": action, "note": "a test"}
    answer = client.request("POST", CONTROL, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["problems"] == []
    found: dict[str, Any] = answer.json()["stages"]
    return found


def stages(client: Client) -> dict[str, Any]:
    """Read the controls."""
    found: dict[str, Any] = client.request("GET", CONTROL).json()["stages"]
    return found


@pytest.fixture(autouse=True)
def resumed(client: Client) -> Iterator[None]:
    """Leave every stage running, whatever a test did."""
    yield
    control(client, "all", "resume")
    wait_until(lambda: _is_open(client), what="documents are admitted again", timeout_s=TAKES_S)


def _is_open(client: Client) -> bool:
    # Each environment of the function knows for itself.
    body = {"collection": "no-such-collection", "content": "x"}
    answers = [client.request("POST", "/embeddings/jobs", json=body) for _ in range(4)]
    return {answer.status_code for answer in answers} == {404}


def submit(client: Client, collection: str, name: str, count: int) -> list[str]:
    """Post documents; give their jobs."""
    return [
        client.submit(collection, a_text(number, 200), f"{name}-{number}")["job_id"]
        for number in range(count)
    ]


def is_off(client: Client, stage: str) -> bool:
    """Whether what receives for a function says that it does so no more."""
    state: str = stages(client)[stage]["event_source"]
    return state == "Disabled"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("stage", ["chunk", "embed", "store"])
def test_a_paused_stage_receives_nothing_and_a_resumed_one_does_it_all(
    client: Client, queues: Queues, collection: str, stage: str
) -> None:
    queue = QUEUES[stage]
    in_the_flow = submit(client, collection, "before", 6)
    control(client, stage, "pause")
    if stage == "embed":
        time.sleep(TAKES_S)
    else:
        wait_until(lambda: is_off(client, stage), what="switched off", timeout_s=TAKES_S)

    held = queues.in_flight(queue)
    jobs = submit(client, collection, "after", 4)
    wait_until(
        lambda: (
            {client.job(job)["status"] for job in jobs} == {WAITING[stage]}
            and queues.count(queue) >= 4
        ),
        what="a backlog",
    )
    most = most_in_flight(queues, queue)
    statuses = {client.job(job)["status"] for job in jobs}
    receives = {
        message["Attributes"]["ApproximateReceiveCount"]
        for message in queues.peek(queue)
        if json.loads(message["Body"])["job_id"] in jobs
    }
    said = stages(client)[stage]
    control(client, stage, "resume")
    finished = {client.finished(job, 100)["status"] for job in [*jobs, *in_the_flow]}

    assert most <= held, "something was received while paused"
    assert statuses == {WAITING[stage]}
    assert receives == {"1"}, "more than this test has looked at them"
    assert (said["state"], said["note"], said["drained"]) == ("paused", "a test", False)
    assert finished == {"succeeded"}


def most_in_flight(queues: Queues, queue: str) -> int:
    """Look for a while how many messages of a queue somebody holds."""
    most, until = 0, time.monotonic() + LOOKED_AT_S
    while time.monotonic() < until:
        most = max(most, queues.in_flight(queue))
        time.sleep(0.05)
    return most


@pytest.mark.timeout(240)
def test_a_drain_admits_nothing_and_is_over_when_all_is_stored(
    client: Client, queues: Queues, collection: str
) -> None:
    jobs = submit(client, collection, "last", 6)

    control(client, "store", "drain")
    refused = wait_until(lambda: _refused(client, collection), what="nothing is admitted")
    found = client.request("POST", f"/vector_stores/{collection}/search", json={"query": "river"})
    wait_until(lambda: stages(client)["store"]["drained"], what="all is drained", timeout_s=100)
    finished = {client.job(job)["status"] for job in jobs}
    left = [queues.count(queue) for queue in QUEUES.values()]

    assert refused == ("DRAINING", "30")
    assert found.status_code == 200
    assert finished == {"succeeded"}
    assert left == [0, 0, 0]


def _refused(client: Client, collection: str) -> tuple[str, str] | None:
    body = {"collection": collection, "content": "too late"}
    answer = client.request("POST", "/embeddings/jobs", json=body)
    if answer.status_code == 202:
        return None
    assert answer.status_code == 503
    return answer.json()["code"], answer.headers["Retry-After"]


def test_a_paused_door_lets_what_is_inside_go_on(client: Client, collection: str) -> None:
    jobs = submit(client, collection, "inside", 2)
    control(client, "submit", "pause")

    refused = wait_until(lambda: _refused(client, collection), what="nothing is admitted")

    assert refused == ("PAUSED", "30")
    assert {client.finished(job)["status"] for job in jobs} == {"succeeded"}
