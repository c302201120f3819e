"""The verdict of a chaos run: it fails when anything is wrong, and when too little happened."""

from __future__ import annotations

from typing import Any

from tests.chaos.profile import Profile
from tests.chaos.report import failures, summary, table

Found = dict[str, list[dict[str, Any]]]

PROFILE = Profile.of(80, 10, 1)
ENOUGH: dict[str, float] = {
    "accepted": 80,
    "vectors": 600,
    "batches": 200,
    "SIGKILL": 20,
    "SIGTERM": 5,
    "zombies": 5,
    "PostgreSQL crashes": 1,
    "network faults": 2,
    "requeues": 1,
    "pauses": 1,
    "messages sent": 400,
    "duplicates": 80,
    "lost 202s": 6,
    "model passes": 700,
}


def judged(found: Found, **changes: float) -> list[str]:
    counts = {**ENOUGH, **{name.replace("_", " "): value for name, value in changes.items()}}
    return failures(PROFILE, summary(counts, found))


def test_a_run_with_enough_of_everything_and_nothing_wrong_passes() -> None:
    assert judged({}) == []


def test_any_row_that_must_not_be_fails_the_run() -> None:
    row = {"job_id": "1"}

    for name in ("missing: a chunk", "orphan: a batch", "innocent failure", "wrong vector", "else"):
        assert len(judged({name: [row]})) == 1, name


def test_a_mixed_read_that_a_client_saw_is_counted_as_one() -> None:
    found: Found = {"seen by a client": [{"what": "mixed read: versions [1, 2] in one answer"}]}

    shown = summary(ENOUGH, found)

    assert shown["mixed"] == 1
    assert failures(PROFILE, shown) == ["mixed: 1, not 0", "other violations: 1, not 0"]


def test_a_run_that_did_too_little_fails() -> None:
    assert judged({}, SIGKILL=3) == ["SIGKILL: 3, less than 15"]
    assert judged({}, duplicates=20) == ["duplicates %: 5, less than 15"]
    assert judged({}, accepted=79, lost_202s=6) == ["accepted: 79, less than 80"]


def test_too_many_rescues_fail_the_run_and_a_handful_does_not() -> None:
    assert judged({}, rescues=3) == []
    assert judged({}, rescues=5) == ["rescues: 2.5 % of batches, more than 1"]


def test_model_passes_beyond_one_for_each_vector_are_wasted() -> None:
    assert summary(ENOUGH, {})["model passes wasted"] == 100


def test_the_table_shows_the_first_rows_of_what_is_wrong() -> None:
    found: Found = {"stale: chunks": [{"document_id": f"d{number}"} for number in range(20)]}

    printed = table(summary(ENOUGH, found), found)

    assert "20 x stale: chunks" in printed
    assert "document_id=d7" in printed
    assert "document_id=d8" not in printed
