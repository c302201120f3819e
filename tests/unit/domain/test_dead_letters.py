"""What the message of a dead letter is worth to its job."""

from __future__ import annotations

from typing import Any

import pytest
from embedpipe.domain.dead_letters import JobState, Worth, worth
from embedpipe.domain.jobs import JobRef, JobStatus

REF = JobRef("acme", "a-job", 3, "default", "doc", 1)


def a_job(status: JobStatus = JobStatus.FAILED, **overrides: Any) -> JobState:
    return JobState(**{"ref": REF, "status": status, **overrides})


@pytest.mark.parametrize(
    ("stage", "epoch", "job", "expected"),
    [
        ("chunk", 3, a_job(), Worth.RESTART),
        ("embed", 3, a_job(is_chunked=True), Worth.RESTART),
        ("store", 3, a_job(JobStatus.STORING), Worth.WANTED),
        ("chunk", 3, a_job(JobStatus.QUEUED), Worth.WANTED),
        ("chunk", 3, a_job(JobStatus.SUCCEEDED), Worth.OBSOLETE),
        ("chunk", 3, a_job(JobStatus.CANCELLED), Worth.OBSOLETE),
        ("chunk", 2, a_job(), Worth.OBSOLETE),
        ("chunk", 4, a_job(), Worth.OBSOLETE),
        ("chunk", None, a_job(), Worth.OBSOLETE),
        ("chunk", 3, None, Worth.OBSOLETE),
        ("chunk", 1, a_job(requeued_from=1), Worth.RESTART),
        ("embed", 1, a_job(requeued_from=1), Worth.OBSOLETE),
        ("chunk", 3, a_job(is_outdated=True), Worth.OBSOLETE),
        ("chunk", 3, a_job(is_skipped=True), Worth.SKIPPED),
    ],
)
def test_a_message_is_worth_what_its_job_makes_of_it(
    stage: str, epoch: int | None, job: JobState | None, expected: Worth
) -> None:
    assert worth(stage, "a-job", epoch, job) is expected


def test_a_message_that_names_no_job_is_wanted_by_somebody() -> None:
    assert worth("chunk", None, None, None) is Worth.WANTED


def test_a_job_starts_from_a_chunk_message_only_while_nothing_else_is_about() -> None:
    assert a_job().keeps_body("chunk")
    assert not a_job(is_chunked=True).keeps_body("chunk")
    assert not a_job().keeps_body("embed")
