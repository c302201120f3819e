"""Admission: versions, supersession, idempotency."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from embedpipe.domain.jobs import Chunking, JobError, JobRef, JobStatus
from embedpipe.errors import ConflictError, NotFoundError
from embedpipe.ports import Admission, Database, OutboxRow

from tests.builders import (
    MODEL,
    a_chunked_job,
    a_message,
    a_new_job,
    a_ref,
    a_stored_job,
    admit,
    store,
)

if TYPE_CHECKING:
    from tests.conftest import Backend


def test_an_admitted_job_is_queued_with_its_message(backend: Backend) -> None:
    job = a_new_job(metadata={"author": "ada"}, priority=70, traceparent="00-ab-cd-01")

    admission = backend.database.jobs.admit(job, lambda _: a_message(job, key="k"))

    assert admission == Admission(job.job_id, "doc", 1, JobStatus.QUEUED, 1, created=True)
    read = backend.database.jobs.get("acme", job.job_id)
    assert (read.status, read.priority, read.metadata) == (
        JobStatus.QUEUED,
        70,
        {"author": "ada"},
    )
    assert (read.chunks_total, read.chunks_stored, read.tokens_total) == (None, 0, None)
    assert (read.attempts, read.error, read.finished_at) == (0, None, None)
    assert [row["message_key"] for row in backend.rows("outbox")] == ["k"]


def test_the_message_is_made_from_the_admission(database: Database) -> None:
    job = a_new_job()
    seen: list[Admission] = []

    def outbox(admission: Admission) -> OutboxRow:
        seen.append(admission)
        return a_message(job)

    admission = database.jobs.admit(job, outbox)

    assert seen == [admission]


def test_an_admission_whose_message_cannot_be_made_leaves_nothing(backend: Backend) -> None:
    def outbox(_: Admission) -> OutboxRow:
        raise RuntimeError("no message")

    with pytest.raises(RuntimeError):
        backend.database.jobs.admit(a_new_job(), outbox)

    tables = ("documents", "document_versions", "jobs", "outbox")
    assert [backend.rows(table) for table in tables] == [[], [], [], []]


def test_a_collection_that_is_not_there_is_not_found(backend: Backend) -> None:
    job = a_new_job(collection="nowhere")

    with pytest.raises(NotFoundError) as caught:
        backend.database.jobs.admit(job, lambda _: a_message(job))

    assert caught.value.code == "COLLECTION_NOT_FOUND"
    assert backend.rows("documents") == []


def test_another_tenants_collection_is_not_found(database: Database) -> None:
    database.collections.create("globex", "theirs", MODEL, "")

    with pytest.raises(NotFoundError):
        admit(database, collection="theirs")


def test_source_gives_back_what_was_admitted(database: Database) -> None:
    ref = admit(
        database,
        content=None,
        content_uri="s3://bucket/key",
        chunking=Chunking(100, 10, "chars"),
        content_type="text/markdown",
        traceparent="00-ab-cd-01",
    )

    source = database.jobs.begin_chunking(ref)

    assert source is not None
    assert (source.content, source.content_uri) == (None, "s3://bucket/key")
    assert source.chunking == Chunking(100, 10, "chars")
    assert (source.content_type, source.traceparent) == ("text/markdown", "00-ab-cd-01")
    assert (source.model_id, source.fingerprint) == ("tiny", "a" * 64)


def test_versions_of_a_document_count_up(database: Database) -> None:
    versions = [admit(database).version for _ in range(3)]

    assert versions == [1, 2, 3]


@pytest.mark.parametrize("stage", ["queued", "chunking", "embedding", "storing"])
def test_a_newer_version_cancels_the_older_ones_job(backend: Backend, stage: str) -> None:
    database = backend.database
    ref = _job_at(database, stage)

    newer = admit(database)

    job = database.jobs.get("acme", ref.job_id)
    assert job.status is JobStatus.CANCELLED
    assert job.error is not None
    assert job.error.code == "SUPERSEDED"
    assert job.chunks_stored == 0
    assert backend.rows("chunks") == backend.rows("embeddings") == []
    assert database.jobs.get("acme", newer.job_id).status is JobStatus.QUEUED


def _job_at(database: Database, stage: str) -> JobRef:
    if stage in ("queued", "chunking"):
        ref = admit(database)
        if stage == "chunking":
            database.jobs.begin_chunking(ref)
    else:
        job = a_chunked_job(database)
        if stage == "storing":
            store(database, job, 0)
        ref = job.ref
    assert database.jobs.get("acme", ref.job_id).status == stage
    return ref


def test_a_newer_version_leaves_the_visible_one_alone(backend: Backend) -> None:
    a_stored_job(backend.database)

    admit(backend.database)

    assert len(backend.rows("embeddings")) == 2
    assert backend.database.documents.get("acme", "default", "doc").version == 1


def test_a_finished_job_is_not_superseded(database: Database) -> None:
    done = a_stored_job(database)
    failed = admit(database, document_id="other")
    database.jobs.fail(failed, JobError("POISON_CHUNK", "permanent", "no"))

    admit(database)
    admit(database, document_id="other")

    assert database.jobs.get("acme", done.ref.job_id).status is JobStatus.SUCCEEDED
    assert database.jobs.get("acme", failed.job_id).status is JobStatus.FAILED


def test_the_same_key_and_request_give_the_first_answer(backend: Backend) -> None:
    first = a_new_job(idempotency_key="key", request_sha256="1")
    again = a_new_job(idempotency_key="key", request_sha256="1")
    backend.database.jobs.admit(first, lambda _: a_message(first))

    answer = backend.database.jobs.admit(again, lambda _: a_message(again))

    assert answer == Admission(first.job_id, "doc", 1, JobStatus.QUEUED, 1, created=False)
    assert len(backend.rows("jobs")) == len(backend.rows("outbox")) == 1


def test_a_repeated_request_does_not_supersede_itself(database: Database) -> None:
    job = a_new_job(idempotency_key="key", request_sha256="1")
    ref = a_ref(job, database.jobs.admit(job, lambda _: a_message(job)))
    database.jobs.begin_chunking(ref)

    answer = database.jobs.admit(job, lambda _: a_message(job))

    assert answer.status is JobStatus.CHUNKING
    assert database.documents.get("acme", "default", "doc").latest_version == 1


def test_the_same_key_with_another_request_is_a_conflict(backend: Backend) -> None:
    first = a_new_job(idempotency_key="key", request_sha256="1")
    other = a_new_job(idempotency_key="key", request_sha256="2")
    backend.database.jobs.admit(first, lambda _: a_message(first))

    with pytest.raises(ConflictError) as caught:
        backend.database.jobs.admit(other, lambda _: a_message(other))

    assert caught.value.code == "IDEMPOTENCY_KEY_REUSED"
    assert len(backend.rows("jobs")) == 1


def test_keys_of_tenants_do_not_meet(database: Database) -> None:
    ours = a_new_job(idempotency_key="key", request_sha256="1")
    theirs = a_new_job(tenant_id="globex", idempotency_key="key", request_sha256="2")
    database.jobs.admit(ours, lambda _: a_message(ours))

    answer = database.jobs.admit(theirs, lambda _: a_message(theirs))

    assert answer.created


def test_concurrent_requests_with_one_key_make_one_job(backend: Backend) -> None:
    def request(number: int) -> Admission:
        job = a_new_job(document_id=f"doc-{number % 2}", idempotency_key="key", request_sha256="1")
        return backend.database.jobs.admit(job, lambda _: a_message(job))

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(request, range(12)))

    assert len({answer.job_id for answer in answers}) == 1
    assert Counter(answer.created for answer in answers) == {True: 1, False: 11}
    assert len(backend.rows("jobs")) == len(backend.rows("documents")) == 1


def test_concurrent_admissions_of_a_document_leave_one_job_open(backend: Backend) -> None:
    with ThreadPoolExecutor(6) as threads:
        refs = list(threads.map(lambda _: admit(backend.database), range(12)))

    assert sorted(ref.version for ref in refs) == list(range(1, 13))
    statuses = {row["version"]: row["status"] for row in backend.rows("jobs")}
    assert statuses.pop(12) == "queued"
    assert set(statuses.values()) == {"cancelled"}


def test_admission_of_a_known_message_key_keeps_the_first_message(backend: Backend) -> None:
    first, second = a_new_job(), a_new_job(document_id="other")
    backend.database.jobs.admit(first, lambda _: OutboxRow("acme", "chunk", "k", "first"))

    backend.database.jobs.admit(second, lambda _: OutboxRow("acme", "chunk", "k", "second"))

    assert [row["body"] for row in backend.rows("outbox")] == ["first"]


@pytest.mark.parametrize("job_id", ["nonsense", "", str(uuid4()), "0" * 32])
def test_a_job_that_is_not_there_is_not_found(database: Database, job_id: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        database.jobs.get("acme", job_id)

    assert caught.value.code == "JOB_NOT_FOUND"


def test_another_tenants_job_is_not_found(database: Database) -> None:
    theirs = admit(database, tenant_id="globex")

    with pytest.raises(NotFoundError):
        database.jobs.get("acme", theirs.job_id)
    with pytest.raises(NotFoundError):
        database.jobs.cancel("acme", theirs.job_id)
    assert database.jobs.get("globex", theirs.job_id).status is JobStatus.QUEUED
