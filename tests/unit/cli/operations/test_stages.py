from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.operations.answers import a_control, ago, controls
from tests.unit.cli.operations.conftest import Run, lines
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

CONTROL = "/embeddings/stage/control"
WORKERS = "/embeddings/orchestrator/workers"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["pause", "embed"], [("embed", "pause")]),
        (["pause", "embedding"], [("embed", "pause")]),
        (["pause", "submit"], [("submit", "pause")]),
        (["resume", "storage"], [("store", "resume")]),
        (["resume"], [("all", "resume")]),
        (["drain", "chunking"], [("chunk", "drain")]),
        (["drain"], [("all", "drain")]),
        (["stop"], [("chunk", "pause"), ("embed", "pause"), ("store", "pause")]),
        (["start"], [("all", "resume")]),
    ],
)
def test_each_verb_asks_for_its_act(
    api: FakeOperatorApi, run: Run, arguments: list[str], asked: list[tuple[str, str]]
) -> None:
    api.on("POST", CONTROL, controls())

    done = run(*arguments, "--note", "why")

    assert done.exit_code == 0
    assert [(one["stage"], one["action"]) for one in api.bodies(CONTROL)] == asked
    assert {one["note"] for one in api.bodies(CONTROL)} == {"why"}


def test_what_each_stage_does_now_is_shown(api: FakeOperatorApi, run: Run) -> None:
    paused = a_control("paused", note="new [driver]", changed_at=ago(minutes=5))
    api.on("POST", CONTROL, controls(embed=paused))

    done = run("pause", "embed")

    [embed] = [line.split() for line in lines(done) if line.startswith(" embed")]
    assert embed == ["embed", "paused", "5", "min", "key-1", "new", "[driver]"]


def test_what_could_not_be_switched_is_named_and_exits_1(api: FakeOperatorApi, run: Run) -> None:
    problem = {"stage": "chunk", "code": "EVENT_SOURCE_UNAVAILABLE"}
    api.on("POST", CONTROL, controls(problems=[problem]))

    done = run("pause", "chunk")

    assert done.exit_code == 1
    assert "chunk: EVENT_SOURCE_UNAVAILABLE; send it again" in done.stderr


def test_an_unknown_stage_is_wrong_usage(api: FakeOperatorApi, run: Run) -> None:
    done = run("pause", "everything")

    assert done.exit_code == 2
    assert api.asked == []


def test_waiting_for_a_drain_ends_when_the_stage_is_empty(api: FakeOperatorApi, run: Run) -> None:
    draining = controls(embed=a_control("draining"))
    drained = controls(embed=a_control("draining", drained=True))
    api.on("POST", CONTROL, draining)
    api.on("GET", CONTROL, [draining, draining, drained])

    done = run("drain", "embed", "--wait", "--json")

    assert json.loads(done.output)["stages"]["embed"]["drained"] is True
    assert api.slept == [2.0, 2.0]


def test_an_interrupted_wait_goes_on_draining(api: FakeOperatorApi, run: Run) -> None:
    def interrupt(asked: object) -> Any:
        raise KeyboardInterrupt

    api.on("POST", CONTROL, controls())
    api.on("GET", CONTROL, interrupt)

    done = run("drain", "all", "--wait")

    assert done.exit_code == 130
    assert "it goes on draining" in done.stderr


@pytest.mark.parametrize(
    ("is_stalled", "code", "state"), [(False, 0, "active"), (True, 1, "stalled")]
)
def test_workers_are_listed_and_a_stalled_one_exits_1(
    api: FakeOperatorApi, run: Run, is_stalled: bool, code: int, state: str
) -> None:
    worker = {
        "worker_id": "host-1-ab",
        "stage": "embed",
        "state": "active",
        "since": ago(hours=30),
        "last_beat": ago(minutes=15),
        "in_flight": 4,
        "is_stalled": is_stalled,
    }
    api.on("GET", WORKERS, {"items": [worker], "cursor": None})

    done = run("workers")

    [line] = [line.split() for line in lines(done) if "host-1-ab" in line]
    assert done.exit_code == code
    assert line == ["host-1-ab", "embed", state, "30", "h", "15", "min", "4"]


def test_without_workers_it_says_so(api: FakeOperatorApi, run: Run) -> None:
    api.on("GET", WORKERS, {"items": [], "cursor": None})

    assert "no worker" in run("workers").output
    assert json.loads(run("workers", "--json").output) == []
