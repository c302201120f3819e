from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.operations.conftest import Run
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

REDRIVE = "/embeddings/dlq/redrive"


def a_redrive(moved: int = 0, status: str = "running", **overrides: Any) -> dict[str, Any]:
    return {
        "redrive_id": "r-1",
        "stage": "embed",
        "status": status,
        "native": False,
        "moved": moved,
        "to_move": 5000,
        "remaining": 5000 - moved,
        "reason": "",
        **overrides,
    }


def test_it_goes_on_until_everything_is_moved(api: FakeOperatorApi, run: Run) -> None:
    api.on(
        "POST",
        REDRIVE,
        [a_redrive(), a_redrive(2000), a_redrive(4000), a_redrive(5000, "completed")],
    )

    done = run("redrive", "embedding", "--note", "fixed", "--max-per-second", "200", says="y\n")

    asked = api.bodies(REDRIVE)
    assert done.exit_code == 0
    assert "Put 5,000 dead letters of embed back?" in done.output
    assert "embed: completed; 5,000 moved by embedpipe, 0 remain" in done.output
    assert [one.get("dry_run", False) for one in asked] == [True, False, False, False]
    assert {(one["stage"], one["max_per_second"]) for one in asked} == {("embed", 200)}
    assert asked[-1]["operator_note"] == "fixed"
    assert [one.get("redrive_id") for one in asked] == [None, None, "r-1", "r-1"]


def test_one_of_the_queue_service_is_looked_at_now_and_then(api: FakeOperatorApi, run: Run) -> None:
    steps = [a_redrive(moved, native=True) for moved in (0, 2000, 4000)]
    api.on("POST", REDRIVE, [*steps, a_redrive(5000, "completed", native=True)])

    done = run("redrive", "embed", "--confirm", "--note", "fixed", "--json")

    assert json.loads(done.output)["moved"] == 5000
    assert api.slept == [1.0, 1.0]


def test_what_is_hidden_for_a_while_is_waited_for(api: FakeOperatorApi, run: Run) -> None:
    still = [a_redrive(4990)] * 40
    api.on("POST", REDRIVE, [a_redrive(), *still, a_redrive(5000, "completed")])

    done = run("redrive", "embed", "--confirm", "--note", "fixed")

    assert done.exit_code == 0
    assert len(api.slept) >= 39


def test_a_failed_one_says_why_and_exits_1(api: FakeOperatorApi, run: Run) -> None:
    failed = a_redrive(10, "failed", reason="AccessDenied")
    api.on("POST", REDRIVE, [a_redrive(), failed])

    done = run("redrive", "embed", "--confirm", "--note", "fixed")

    assert done.exit_code == 1
    assert "embed: failed (AccessDenied)" in done.output


def test_it_wants_to_know_why(api: FakeOperatorApi, run: Run) -> None:
    api.on("POST", REDRIVE, [a_redrive(), a_redrive(5000, "completed")])

    without = run("redrive", "embed", "--confirm")
    asked = run("redrive", "embed", "--confirm", says="it is fixed\n")

    assert (without.exit_code, asked.exit_code) == (2, 0)
    assert api.bodies(REDRIVE)[-1]["operator_note"] == "it is fixed"


def test_without_a_terminal_it_wants_a_confirmation(api: FakeOperatorApi, run: Run) -> None:
    api.on("POST", REDRIVE, a_redrive())

    done = run("redrive", "embed")

    assert done.exit_code == 2
    assert [one["dry_run"] for one in api.bodies(REDRIVE)] == [True]


@pytest.mark.parametrize("option", ["--dry-run", "--status", "--cancel"])
def test_looking_and_cancelling_move_nothing(api: FakeOperatorApi, run: Run, option: str) -> None:
    api.on("POST", REDRIVE, a_redrive())
    api.on("GET", REDRIVE, a_redrive(7))
    api.on("POST", f"{REDRIVE}/cancel", a_redrive(7, "cancelling"))

    done = run("redrive", "embed", option)

    assert done.exit_code == 0
    assert all(one["dry_run"] for one in api.bodies(REDRIVE))


def test_interrupted_it_says_how_far_it_came(api: FakeOperatorApi, run: Run) -> None:
    steps = [a_redrive(), a_redrive(120)]

    def step(asked: dict[str, Any]) -> dict[str, Any]:
        if not steps:
            raise KeyboardInterrupt
        return steps.pop(0)

    api.on("POST", REDRIVE, step)

    done = run("redrive", "embed", "--confirm", "--note", "fixed")

    assert done.exit_code == 130
    assert "interrupted: moved 120; asking again continues" in done.stderr
