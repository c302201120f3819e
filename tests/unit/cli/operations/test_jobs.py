from __future__ import annotations

import json

import pytest

from tests.unit.cli.operations.answers import a_job, ago
from tests.unit.cli.operations.conftest import Run, lines
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

JOBS = "/embeddings/orchestrator/jobs"


def test_recent_lists_the_jobs_of_all_tenants_in_80_columns(api: FakeOperatorApi, run: Run) -> None:
    running = a_job(1, status="embedding", error=None, touched_at=ago(minutes=42))
    api.lists(JOBS, [a_job(0, document_id="long-" * 30), running])

    done = run("recent")

    assert done.exit_code == 0
    assert running["job_id"] in done.output
    assert "SCHEMA" in done.output
    assert "42 min" in done.output
    assert max(map(len, lines(done))) <= 80
    assert api.asked[0][2]["view"] == "recent"


def test_a_wide_terminal_shows_tenants_too(api: FakeOperatorApi, run: Run) -> None:
    api.lists(JOBS, [a_job(tenant_id="acme")])

    assert "acme" not in run("recent").output
    assert "acme" in run("recent", width=160).output


def test_a_limit_takes_as_many_pages_as_it_needs(api: FakeOperatorApi, run: Run) -> None:
    api.lists(JOBS, [a_job(number) for number in range(300)])

    done = run("recent", "--limit", "250", "--tenant", "acme", "--json")

    assert len(json.loads(done.output)) == 250
    assert [asked["limit"] for _, _, asked in api.asked] == ["100"] * 3
    assert {asked["tenant"] for _, _, asked in api.asked} == {"acme"}


def test_failed_counts_the_reasons(api: FakeOperatorApi, run: Run) -> None:
    crash = {"code": "POISON_CRASH", "failure_type": "permanent", "message": "m"}
    api.lists(JOBS, [a_job(1), a_job(2, error=crash), a_job(3)])

    done = run("failed")

    assert "reasons: 2 SCHEMA, 1 POISON_CRASH" in done.output
    assert api.asked[0][2]["view"] == "failed"


def test_failed_of_the_last_days_leaves_older_ones_out(api: FakeOperatorApi, run: Run) -> None:
    api.lists(JOBS, [a_job(1), a_job(2, finished_at=ago(days=3))])

    found = json.loads(run("failed", "--days", "1", "--json").output)

    assert [job["job_id"] for job in found] == [a_job(1)["job_id"]]


def test_details_show_the_whole_message_and_take_markup_as_text(
    api: FakeOperatorApi, run: Run
) -> None:
    api.lists(JOBS, [a_job()])

    done = run("failed", "--details")

    assert "SCHEMA no such [field]" in done.output
    assert "tenant default, collection default" in done.output
    assert "3 of 12 stored" in done.output


def test_stuck_says_how_long_a_job_must_not_have_moved(api: FakeOperatorApi, run: Run) -> None:
    api.lists(JOBS, [])

    done = run("stuck", "--idle", "1h")

    assert "no job is stuck" in done.output
    assert (api.asked[0][2]["view"], api.asked[0][2]["idle_seconds"]) == ("stuck", "3600")


@pytest.mark.parametrize("verb", ["recent", "failed", "stuck"])
def test_nothing_is_an_empty_list_as_json(api: FakeOperatorApi, run: Run, verb: str) -> None:
    api.lists(JOBS, [])

    done = run(verb, "--json")

    assert (done.exit_code, json.loads(done.output)) == (0, [])
