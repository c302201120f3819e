"""Listing jobs by keyset."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.jobs import Job, JobStatus
from embedpipe.errors import InvalidInputError
from embedpipe.ports import Database

from tests.builders import MODEL, a_stored_job, admit

if TYPE_CHECKING:
    from tests.conftest import Backend


def _all_pages(database: Database, limit: int, **filters: object) -> list[list[Job]]:
    pages, cursor = [], None
    while True:
        page = database.jobs.list("acme", limit=limit, cursor=cursor, **filters)  # type: ignore[arg-type]
        pages.append(page.items)
        cursor = page.cursor
        if cursor is None:
            return pages


def test_jobs_come_newest_first(database: Database) -> None:
    ids = [admit(database, document_id=f"doc-{at}").job_id for at in range(3)]

    listed = database.jobs.list("acme")

    assert [job.job_id for job in listed.items] == ids[::-1]
    assert listed.cursor is None


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_pages_give_every_job_once(database: Database, limit: int) -> None:
    ids = {admit(database, document_id=f"doc-{at}").job_id for at in range(7)}

    pages = _all_pages(database, limit)

    listed = [job.job_id for page in pages for job in page]
    assert len(listed) == 7
    assert set(listed) == ids
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1]


def test_jobs_of_one_moment_are_paged_by_id(backend: Backend) -> None:
    ids = [admit(backend.database, document_id=f"doc-{at}").job_id for at in range(7)]
    backend.same_moment()

    pages = _all_pages(backend.database, 2)

    listed = [job.job_id for page in pages for job in page]
    assert listed == sorted(ids, reverse=True)


def test_a_listing_goes_on_when_jobs_arrive_meanwhile(database: Database) -> None:
    ids = [admit(database, document_id=f"doc-{at}").job_id for at in range(4)]
    first = database.jobs.list("acme", limit=2)

    admit(database, document_id="late")
    second = database.jobs.list("acme", limit=2, cursor=first.cursor)

    assert [job.job_id for job in [*first.items, *second.items]] == ids[::-1]


def test_jobs_are_filtered(database: Database) -> None:
    database.collections.create("acme", "other", MODEL, "")
    done = a_stored_job(database, document_id="done").ref.job_id
    queued = admit(database, document_id="queued").job_id
    elsewhere = admit(database, collection="other").job_id
    admit(database, tenant_id="globex")

    def listed(**filters: object) -> list[str]:
        return [job.job_id for job in database.jobs.list("acme", **filters).items]  # type: ignore[arg-type]

    assert listed(status=JobStatus.SUCCEEDED) == [done]
    assert listed(status=JobStatus.QUEUED) == [elsewhere, queued]
    assert listed(collection="other") == [elsewhere]
    assert listed(collection="other", status=JobStatus.FAILED) == []
    assert listed(collection="nowhere") == []
    assert len(listed()) == 3


def test_a_listed_job_is_the_one_that_is_read(database: Database) -> None:
    ref = a_stored_job(database, metadata={"k": [1, {"n": None}]}).ref

    [listed] = database.jobs.list("acme").items

    assert listed == database.jobs.get("acme", ref.job_id)


def _forged(*body: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(body).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "%%%",
        "é",
        "a",
        _forged("documents", "x"),
        _forged("jobs", "yesterday", "00000000-0000-0000-0000-000000000000"),
        _forged("jobs", "2026-01-01T00:00:00", "00000000-0000-0000-0000-000000000000"),
        _forged("jobs", "2026-01-01T00:00:00+00:00", "1"),
        _forged("jobs", 1, 2),
        _forged("jobs"),
        _forged("jobs", "2026-01-01T00:00:00+00:00\0", "00000000-0000-0000-0000-000000000000"),
        _forged("jobs", "\ud800", "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_a_forged_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        database.jobs.list("acme", cursor=cursor)

    assert caught.value.code == "INVALID_CURSOR"


def test_an_empty_tenant_has_an_empty_page(database: Database) -> None:
    page = database.jobs.list("globex")

    assert (page.items, page.cursor) == ([], None)
