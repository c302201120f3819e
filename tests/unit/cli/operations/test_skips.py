from __future__ import annotations

import json
from typing import Any

from tests.unit.cli.operations.answers import FAR
from tests.unit.cli.operations.conftest import Run
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

SKIP = "/embeddings/job/skip"


def a_skip(**overrides: Any) -> dict[str, Any]:
    own = {"job_id": "job-1", "skipped": True, "expires_at": FAR, "created_by": "key-1"}
    return {**own, **overrides}


def test_a_job_is_skipped_for_as_long_as_asked(api: FakeOperatorApi, run: Run) -> None:
    api.on("POST", SKIP, a_skip(status="cancelled", was_cancelled=True))

    done = run("skip", "job-1", "--ttl", "12h", "--note", "kills workers")

    assert done.exit_code == 0
    assert "skipped by key-1" in done.output
    assert "before" not in done.output
    assert api.bodies(SKIP) == [{"job_id": "job-1", "ttl_seconds": 43200, "note": "kills workers"}]


def test_a_job_that_was_done_says_so(api: FakeOperatorApi, run: Run) -> None:
    api.on("POST", SKIP, a_skip(status="succeeded", was_cancelled=False))

    assert "it had succeeded before" in run("skip", "job-1").output


def test_the_status_of_a_job_that_is_not_skipped_exits_1(api: FakeOperatorApi, run: Run) -> None:
    api.on("GET", f"{SKIP}/status", a_skip(skipped=False, expires_at=None, created_by=None))

    plain = run("skip", "job-1", "--status")
    as_json = run("skip", "job-1", "--status", "--json")

    assert (plain.exit_code, as_json.exit_code) == (1, 1)
    assert "not skipped" in plain.output
    assert json.loads(as_json.stdout)["skipped"] is False
    assert api.bodies(SKIP) == []
