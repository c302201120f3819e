from __future__ import annotations

import json

import httpx
import pytest

from tests.unit.cli.operations.answers import a_summary
from tests.unit.cli.operations.conftest import Run, lines
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

STAGES = ("chunk", "embed", "store")
SUMMARY = "/embeddings/orchestrator/summary"


def interrupt() -> dict[str, object]:
    raise KeyboardInterrupt


def test_status_shows_what_waits_is_held_and_failed(api: FakeOperatorApi, run: Run) -> None:
    flags = a_summary()["flags"] | {"embed": {"paused": True, "drain": False, "drained": False}}
    api.on("GET", SUMMARY, a_summary(flags=flags))

    done = run("status")

    shown = {line.split()[0]: line.split() for line in lines(done) if ":" not in line and line}
    assert done.exit_code == 0
    assert shown["embed"][:3] == ["embed", "paused", "321"]
    assert shown["embed"][3:] == ["4", "min", "1,234", "0", "2"]
    assert shown["submit"] == ["submit", "running"]
    assert "embed lanes: 1 high, 20 normal, 300 low" in done.output


def test_status_fits_80_columns(api: FakeOperatorApi, run: Run) -> None:
    stages = {name: {"processed": 123_456_789, "failed": 1000} for name in STAGES}
    api.on("GET", SUMMARY, a_summary(stages=stages, outbox={"rows": 1200, "oldest_age_s": 4000}))

    done = run("status")

    assert max(len(line) for line in lines(done)) <= 80
    assert "123,456,789" in done.output
    assert "1,200 messages to be sent, the oldest for 67 min" in done.output


def test_what_cannot_be_seen_is_named_and_exits_1(api: FakeOperatorApi, run: Run) -> None:
    reasons = [{"source": "queue chunk", "code": "QUEUE_UNAVAILABLE"}]
    queues = a_summary()["queues"] | {"chunk": 0}
    api.on("GET", SUMMARY, a_summary(degraded=True, reasons=reasons, queues=queues))

    done = run("status")

    [chunk] = [line.split() for line in lines(done) if line.startswith(" chunk")]
    assert done.exit_code == 1
    assert chunk[:3] == ["chunk", "running", "?"]
    assert "cannot be seen: queue chunk (QUEUE_UNAVAILABLE)" in done.output


@pytest.mark.parametrize(
    ("flag", "state"),
    [
        ({"paused": False, "drain": True, "drained": False}, "draining"),
        ({"paused": False, "drain": True, "drained": True}, "drained"),
    ],
)
def test_a_draining_stage_says_how_far_it_is(
    api: FakeOperatorApi, run: Run, flag: dict[str, bool], state: str
) -> None:
    api.on("GET", SUMMARY, a_summary(flags=a_summary()["flags"] | {"chunk": flag}))

    [line] = [line for line in lines(run("status")) if line.startswith(" chunk")]
    assert line.split()[1] == state


def test_status_as_json_is_what_the_api_said(api: FakeOperatorApi, run: Run) -> None:
    api.on("GET", SUMMARY, a_summary())

    assert json.loads(run("status", "--json").output) == a_summary()


def test_watched_as_json_every_look_is_a_line(api: FakeOperatorApi, run: Run) -> None:
    looks: list[dict[str, object]] = [a_summary(ts=1.0), a_summary(ts=2.0)]
    api.on("GET", SUMMARY, lambda asked: looks.pop(0) if looks else interrupt())

    done = run("status", "--watch", "--json", "--every", "5")

    assert [json.loads(line)["ts"] for line in lines(done)] == [1.0, 2.0]
    assert api.slept == [5.0, 5.0]
    assert done.exit_code == 0


def test_watched_on_a_terminal_it_is_shown_in_place(api: FakeOperatorApi, run: Run) -> None:
    looks: list[dict[str, object]] = [a_summary(queues={"chunk": n}) for n in (41, 42)]
    api.on("GET", SUMMARY, lambda asked: looks.pop(0) if looks else interrupt())

    done = run("status", "--watch", is_terminal=True)

    assert done.exit_code == 0
    assert "41" in done.output
    assert "42" in done.output
    assert api.slept == [2.0, 2.0]


def test_watching_needs_a_terminal(api: FakeOperatorApi, run: Run) -> None:
    api.on("GET", SUMMARY, a_summary())

    done = run("status", "--watch")

    assert done.exit_code == 2
    assert "--watch --json" in done.output


def test_who_is_no_operator_is_told(api: FakeOperatorApi, run: Run) -> None:
    refused = httpx.Response(403, json={"code": "FORBIDDEN", "detail": "Admins only."})
    api.on("GET", SUMMARY, refused)

    done = run("status")

    assert done.exit_code == 1
    assert "FORBIDDEN" in str(done.exception)
