from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.cli.operations.answers import a_summary
from tests.unit.cli.operations.conftest import Run
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

READY = "/embeddings/ready"
SUMMARY = "/embeddings/orchestrator/summary"


def readiness(**codes: str | None) -> dict[str, Any]:
    checks = {name: {"ok": not code, "ms": 1.5, "code": code} for name, code in codes.items()}
    return {"status": "unavailable" if any(codes.values()) else "ready", "checks": checks}


def test_all_well_exits_0_dead_letters_and_paused_stages_or_not(
    api: FakeOperatorApi, run: Run
) -> None:
    flags = a_summary()["flags"] | {"store": {"paused": True, "drain": False, "drained": False}}
    api.on("GET", READY, readiness(database=None, chunk_queue=None))
    api.on("GET", SUMMARY, a_summary(flags=flags, dlq={"chunk": 3, "embed": 0, "store": 0}))

    done = run("health")

    assert done.exit_code == 0
    assert "held: store" in done.output
    assert "3 chunk" in done.output
    assert "answers in 1.5 ms" in done.output


@pytest.mark.parametrize(
    ("summary", "bad"),
    [
        (a_summary(workers={"active": 0, "stalled": 1}), "workers"),
        (a_summary(outbox={"rows": 5, "oldest_age_s": 900.0}), "outbox"),
        (a_summary(reasons=[{"source": "dlq embed", "code": "TIMEOUT"}]), "dlq embed"),
    ],
)
def test_what_is_not_well_is_named_and_exits_1(
    api: FakeOperatorApi, run: Run, summary: dict[str, Any], bad: str
) -> None:
    api.on("GET", READY, readiness(database=None))
    api.on("GET", SUMMARY, summary)

    done = run("health", "--json")

    said = json.loads(done.output)
    assert (done.exit_code, said["healthy"]) == (1, False)
    assert [check["name"] for check in said["checks"] if not check["ok"]] == [bad]


def test_an_api_that_is_not_ready_is_not_waited_for(api: FakeOperatorApi, run: Run) -> None:
    body = readiness(database="STORE_UNAVAILABLE", chunk_queue=None)
    api.on("GET", READY, httpx.Response(503, json=body, headers={"Retry-After": "5"}))
    api.on("GET", SUMMARY, httpx.Response(503, json={"code": "X_UNAVAILABLE", "detail": "no"}))

    done = run("health")

    assert done.exit_code == 1
    assert "STORE_UNAVAILABLE" in done.output
    assert "X_UNAVAILABLE" in done.output
    assert api.slept == []
