from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.cli.operations.conftest import Run
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

RESET = "/embeddings/orchestrator/reset-stuck"
CLEANUP = "/embeddings/orchestrator/cleanup"
CLEAR = "/embeddings/orchestrator/clear"


def reset(matched: int, restarted: int, refused: int = 0, **more: Any) -> dict[str, Any]:
    ids = [f"job-{number}" for number in range(restarted)]
    own = {"matched": matched, "restarted": restarted, "refused": refused, "job_ids": ids}
    return {**own, "dry_run": False, **more}


def cleaned(jobs: int = 0, *, remaining: bool = False) -> dict[str, Any]:
    return {"jobs": jobs, "versions": 1, "audit": 0, "dry_run": False, "remaining": remaining}


class TestResetStuck:
    def test_it_goes_on_until_no_more_are_found(self, api: FakeOperatorApi, run: Run) -> None:
        api.on("POST", RESET, [reset(1000, 400), reset(600, 600), reset(1, 0, 1)])

        done = run("reset-stuck", "--idle", "1h", "--note", "after the outage", "--json")

        said = json.loads(done.output)
        assert (done.exit_code, said["restarted"], len(said["job_ids"])) == (0, 1000, 1000)
        assert {asked["idle_seconds"] for asked in api.bodies(RESET)} == {3600}
        assert {asked["note"] for asked in api.bodies(RESET)} == {"after the outage"}

    def test_no_more_than_asked_for(self, api: FakeOperatorApi, run: Run) -> None:
        api.on("POST", RESET, [reset(7, 5), reset(2, 2)])

        done = run("reset-stuck", "--limit", "7")

        assert "7 of 7 stuck jobs started again" in done.output
        assert [asked["limit"] for asked in api.bodies(RESET)] == [7, 2]

    def test_refused_ones_end_it(self, api: FakeOperatorApi, run: Run) -> None:
        api.on("POST", RESET, reset(2, 0, 2))

        done = run("reset-stuck")

        assert "0 of 2 stuck jobs started again, 2 refused" in done.output
        assert len(api.bodies(RESET)) == 1

    def test_a_dry_run_only_lists(self, api: FakeOperatorApi, run: Run) -> None:
        api.on("POST", RESET, reset(1, 0, job_ids=["job-a"], dry_run=True))

        done = run("reset-stuck", "--dry-run")

        assert "1 stuck job would be started again" in done.output
        assert "job-a" in done.output
        assert [asked["dry_run"] for asked in api.bodies(RESET)] == [True]


class TestCleanup:
    def test_it_asks_first_and_goes_on_until_all_is_gone(
        self, api: FakeOperatorApi, run: Run
    ) -> None:
        api.on("POST", CLEANUP, [cleaned(30), cleaned(20, remaining=True), cleaned(10)])

        done = run("cleanup", "--days", "30", says="y\n")

        assert done.exit_code == 0
        assert "ended more than 30 days ago: 30 jobs, 1 version?" in done.output
        assert "removed: 30 jobs, 2 versions" in done.output
        assert [asked.get("dry_run", False) for asked in api.bodies(CLEANUP)] == [
            True,
            False,
            False,
        ]

    def test_a_no_changes_nothing(self, api: FakeOperatorApi, run: Run) -> None:
        api.on("POST", CLEANUP, cleaned(30))

        done = run("cleanup", says="n\n")

        assert done.exit_code == 1
        assert "nothing was done" in done.output
        assert len(api.bodies(CLEANUP)) == 1

    def test_without_a_terminal_it_wants_a_confirmation(
        self, api: FakeOperatorApi, run: Run
    ) -> None:
        api.on("POST", CLEANUP, cleaned(30))

        refused = run("cleanup")
        done = run("cleanup", "--days", "7", "--confirm", "--json")

        assert refused.exit_code == 2
        assert "--confirm" in refused.output
        assert json.loads(done.stdout)["jobs"] == 30

    def test_a_dry_run_asks_nobody(self, api: FakeOperatorApi, run: Run) -> None:
        api.on("POST", CLEANUP, cleaned(1000, remaining=True))

        done = run("cleanup", "--dry-run")

        assert "would be removed: 1,000 jobs, 1 version, and more" in done.output
        assert len(api.bodies(CLEANUP)) == 1


class TestClear:
    def test_it_says_whose_jobs_and_cancels_them_all(self, api: FakeOperatorApi, run: Run) -> None:
        found = {"matched": 250, "cancelled": 0, "remaining": 250, "dry_run": True}
        first = {"matched": 250, "cancelled": 200, "remaining": 50, "dry_run": False}
        second = {"matched": 50, "cancelled": 50, "remaining": 0, "dry_run": False}
        api.on("POST", CLEAR, [found, first, second])

        done = run("clear", "--tenant", "acme", "-c", "notes", says="y\n")

        assert "Cancel 250 jobs of tenant acme in collection notes?" in done.output
        assert "250 jobs cancelled" in done.output
        assert {asked["collection"] for asked in api.bodies(CLEAR)} == {"notes"}

    def test_what_came_meanwhile_is_left_alone(self, api: FakeOperatorApi, run: Run) -> None:
        found = {"matched": 3, "cancelled": 0, "remaining": 3, "dry_run": True}
        busy = {"matched": 5, "cancelled": 3, "remaining": 2, "dry_run": False}
        api.on("POST", CLEAR, [found, busy])

        done = run("clear", "--confirm")

        assert "3 jobs cancelled; 2 came meanwhile" in done.output
        assert len(api.bodies(CLEAR)) == 2

    def test_what_is_being_worked_on_is_asked_for_again(
        self, api: FakeOperatorApi, run: Run
    ) -> None:
        held = {"matched": 1, "cancelled": 0, "remaining": 1, "dry_run": False}
        free = {"matched": 1, "cancelled": 1, "remaining": 0, "dry_run": False}
        api.on("POST", CLEAR, [held, held, held, free])

        done = run("clear", "--confirm")

        assert "1 job cancelled" in done.output
        assert api.slept == [1.0, 1.0]

    def test_it_gives_up_when_nothing_moves(self, api: FakeOperatorApi, run: Run) -> None:
        held = {"matched": 3, "cancelled": 0, "remaining": 3, "dry_run": False}
        api.on("POST", CLEAR, held)

        done = run("clear", "--confirm")

        assert done.exit_code == 1
        assert "nothing moves any more: 3 remain" in done.output

    @pytest.mark.parametrize("ending", ["interrupted", "refused"])
    def test_ended_midway_it_says_how_far_it_came(
        self, api: FakeOperatorApi, run: Run, ending: str
    ) -> None:
        found = {"matched": 250, "cancelled": 200, "remaining": 50, "dry_run": False}
        answers: list[Any] = [found, found]

        def answer(asked: dict[str, Any]) -> Any:
            if answers:
                return answers.pop(0)
            raise KeyboardInterrupt

        broken = httpx.Response(500, json={"code": "INTERNAL", "detail": "no"})
        api.on("POST", CLEAR, answer if ending == "interrupted" else [found, found, broken])

        done = run("clear", "--confirm")

        assert done.exit_code == (130 if ending == "interrupted" else 1)
        assert "cancelled 200" in done.output
        assert "asking again continues" in done.output
