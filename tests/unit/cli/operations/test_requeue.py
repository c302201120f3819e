from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.operations.answers import a_letter
from tests.unit.cli.operations.conftest import Run
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

DLQ = "/embeddings/dlq"
REQUEUE = f"{DLQ}/requeue"


def moved(matched: int, requeued: int, remaining: int = 0, **more: Any) -> dict[str, Any]:
    own = {"matched": matched, "requeued": requeued, "remaining": remaining}
    return {**own, "refused": [], "retry_after_s": 0, "dry_run": False, **more}


def refused(*entries: str) -> list[dict[str, str]]:
    return [{"entry_id": entry, "code": "DLQ_ENTRY_OBSOLETE"} for entry in entries]


def test_one_entry_is_put_back_without_a_question(api: FakeOperatorApi, run: Run) -> None:
    api.lists(DLQ, [a_letter(1), a_letter(2)])
    api.on("POST", REQUEUE, moved(1, 1))

    done = run("dlq", "requeue", "0002")

    assert done.exit_code == 0
    assert "1 of 1 put back" in done.output
    assert api.bodies(REQUEUE) == [
        {"stage": "embed", "entry_id": a_letter(2)["entry_id"], "delete_from_dlq": True}
    ]


def test_many_are_put_back_by_filter_until_none_remains(api: FakeOperatorApi, run: Run) -> None:
    steps = [moved(250, 0, 250), moved(250, 200, 50, retry_after_s=3.5), moved(50, 50)]
    api.on("POST", REQUEUE, steps)

    done = run(
        "dlq", "requeue", "-s", "embed", "--error-code", "E", "--tenant", "acme",
        "--max-per-second", "20", says="y\n",
    )  # fmt: skip

    assert "Put 250 dead letters back?" in done.output
    assert "250 of 250 put back" in done.output
    assert api.slept == [3.5]
    assert api.bodies(REQUEUE)[-1] == {
        "stage": "embed",
        "filter": {"error_code": "E", "tenant_id": "acme"},
        "delete_from_dlq": True,
        "max_per_second": 20,
    }


def test_a_filter_without_a_stage_is_for_all_stages(api: FakeOperatorApi, run: Run) -> None:
    api.on("POST", REQUEUE, moved(1, 1))

    run("dlq", "requeue", "--job", "j", "--confirm", "--keep")

    stages = [asked["stage"] for asked in api.bodies(REQUEUE) if not asked.get("dry_run")]
    assert stages == ["chunk", "embed", "store"]
    assert {asked["delete_from_dlq"] for asked in api.bodies(REQUEUE)} == {False}


def test_without_a_terminal_many_want_a_confirmation(api: FakeOperatorApi, run: Run) -> None:
    api.on("POST", REQUEUE, moved(250, 0, 250))

    done = run("dlq", "requeue", "--stage", "embed")

    assert done.exit_code == 2
    assert [asked["dry_run"] for asked in api.bodies(REQUEUE)] == [True]


@pytest.mark.parametrize("arguments", [[], ["0001", "--stage", "embed", "--job", "j"]])
def test_what_is_meant_must_be_clear(api: FakeOperatorApi, run: Run, arguments: list[str]) -> None:
    assert run("dlq", "requeue", *arguments).exit_code == 2
    assert api.asked == []


def test_refused_ones_are_counted_by_reason_once_and_exit_1(api: FakeOperatorApi, run: Run) -> None:
    steps = [
        moved(3, 0, 3),
        moved(3, 1, 2, refused=refused("a", "b")),
        moved(2, 0, 2, refused=refused("a", "b")),
    ]
    api.on("POST", REQUEUE, steps)

    done = run("dlq", "requeue", "--stage", "embed", "--confirm", "--json")

    said = json.loads(done.stdout)
    assert done.exit_code == 1
    assert said == {
        "matched": 3,
        "requeued": 1,
        "refused": refused("a", "b"),
        "remaining": 2,
        "dry_run": False,
    }
    assert len(api.bodies(REQUEUE)) == 3


def test_a_dry_run_says_what_would_be_refused(api: FakeOperatorApi, run: Run) -> None:
    api.on("POST", REQUEUE, moved(3, 0, 3, refused=refused("a"), dry_run=True))

    done = run("dlq", "requeue", "--stage", "embed", "--dry-run")

    assert done.exit_code == 0
    assert "2 would be put back of 3" in done.stdout
    assert "refused: 1 DLQ_ENTRY_OBSOLETE" in done.stderr
    assert [asked["dry_run"] for asked in api.bodies(REQUEUE)] == [True]


def test_interrupted_it_says_how_far_it_came(api: FakeOperatorApi, run: Run) -> None:
    steps = [moved(9, 0, 9), moved(9, 4, 5)]

    def step(asked: dict[str, Any]) -> dict[str, Any]:
        if not steps:
            raise KeyboardInterrupt
        return steps.pop(0)

    api.on("POST", REQUEUE, step)

    done = run("dlq", "requeue", "--stage", "embed", "--confirm")

    assert done.exit_code == 130
    assert "put back from embed 4; asking again continues" in done.stderr
