from __future__ import annotations

from functools import partial
from typing import Any

from embedpipe.cli.ingestion import Load, follow, ingest, request_of

from tests.unit.cli.fake_api import FakeApi


def documents(*names: str) -> list[tuple[str, Load]]:
    return [(name, partial(request_of, name, "text", collection="default")) for name in names]


def test_documents_are_sent_and_followed_to_their_end() -> None:
    api = FakeApi()
    seen: list[tuple[int, int]] = []

    report = ingest(
        api.client(),
        documents("a", "b", "c"),
        on_progress=lambda sent, finished: seen.append((sent, finished)),
    )

    totals = report.totals()
    assert (totals["documents"], totals["chunks"], totals["tokens"]) == (3, 6, 21)
    assert report.failures == []
    assert seen[-1] == (3, 3)


def test_failures_are_reported_by_code() -> None:
    def unreadable() -> dict[str, Any]:
        raise PermissionError

    api = FakeApi()
    api.refuse = {"b": "EMPTY_CONTENT"}
    api.fail = {"c": "POISON_CHUNK", "d": "POISON_CHUNK"}

    report = ingest(api.client(), [*documents("a", "b", "c", "d"), ("e", unreadable)])

    assert report.failures_by_code() == {"POISON_CHUNK": 2, "EMPTY_CONTENT": 1, "UNREADABLE": 1}
    assert report.totals()["documents"] == 1


def test_every_document_and_run_has_a_key_of_its_own() -> None:
    api = FakeApi()

    for _ in range(2):
        ingest(api.client(), documents("a", "b"), follows=False)

    keys = [r.headers["idempotency-key"] for r in api.requests if r.method == "POST"]
    assert len(set(keys)) == 4


def test_jobs_are_read_only_as_far_back_as_the_oldest_open_one() -> None:
    api = FakeApi()
    ingest(api.client(), documents(*(f"old-{n}" for n in range(500))), follows=False)
    report = ingest(api.client(), documents("new"), follows=False)
    before = len(api.requests)

    follow(api.client(), report.jobs, sleep=api.slept.append)

    assert len(api.requests) - before == 1
    assert [job["status"] for job in report.jobs.values()] == ["succeeded"]


def test_a_job_that_is_gone_does_not_keep_us_waiting() -> None:
    api = FakeApi()
    report = ingest(api.client(), documents("a"), follows=False)
    api.jobs.clear()

    follow(api.client(), report.jobs, sleep=api.slept.append)

    assert report.failures_by_code() == {"GONE": 1}


def test_following_waits_between_listings() -> None:
    api = FakeApi(listings=3)
    report = ingest(api.client(), documents("a"), follows=False)

    follow(api.client(), report.jobs, sleep=api.slept.append)

    assert len(api.slept) == 2
