"""Chunking and storing: the fence, redelivery, publication."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from embedpipe.domain.jobs import BatchRef, JobError, JobRef, JobStatus
from embedpipe.errors import BadVectorError, DimensionMismatchError, ModelMismatchError
from embedpipe.ports import Database, NewChunk, OutboxRow

from tests.builders import (
    MODEL,
    ChunkedJob,
    a_chunked_job,
    a_stored_job,
    a_vector,
    admit,
    finish,
    packed,
    some_batches,
    some_chunks,
    store,
)

if TYPE_CHECKING:
    from tests.conftest import Backend

ERROR = JobError("POISON_CHUNK", "permanent", "no")


def _status(database: Database, ref: JobRef) -> JobStatus:
    return database.jobs.get(ref.tenant_id, ref.job_id).status


def _stored_chunks(backend: Backend) -> list[tuple[int, int]]:
    return sorted((row["version"], row["chunk_index"]) for row in backend.rows("embeddings"))


def test_a_job_has_its_tenants_tier_and_no_cost_before_it_is_cut(database: Database) -> None:
    ref = admit(database)

    job = database.jobs.get(ref.tenant_id, ref.job_id)

    assert (job.tier, job.cost_usd) == ("free", None)


@pytest.mark.parametrize(("price", "cost"), [(0.0, 0.0), (0.02, 8e-8)])
def test_a_job_costs_what_its_collections_model_charges_for_its_tokens(
    database: Database, price: float, cost: float
) -> None:
    priced = replace(MODEL, price_usd_per_million_tokens=price)
    collection = database.collections.create("acme", "priced", priced, "").collection

    ref = a_chunked_job(database, collection=collection, chunks=2).ref

    job = database.jobs.get(ref.tenant_id, ref.job_id)
    assert job.tokens_total == 4
    assert job.cost_usd == pytest.approx(cost)
    assert database.collections.get("acme", collection).price_usd_per_million_tokens == price


def test_a_job_goes_through_all_statuses(database: Database) -> None:
    ref = admit(database)
    seen = [_status(database, ref)]

    database.jobs.begin_chunking(ref)
    seen.append(_status(database, ref))
    job = finish(database, ref)
    seen.append(_status(database, ref))
    for number in range(2):
        store(database, job, number)
        seen.append(_status(database, ref))

    assert seen == ["queued", "chunking", "embedding", "storing", "succeeded"]
    done = database.jobs.get("acme", ref.job_id)
    assert (done.chunks_total, done.chunks_stored, done.tokens_total) == (2, 2, 4)
    moments = [
        done.created_at,
        done.chunking_at,
        done.embedding_at,
        done.storing_at,
        done.finished_at,
    ]
    assert moments == sorted(moments, key=lambda moment: moment or done.created_at)
    assert None not in moments


def test_beginning_twice_gives_the_source_twice(database: Database) -> None:
    ref = admit(database)

    first = database.jobs.begin_chunking(ref)
    began = database.jobs.get("acme", ref.job_id).chunking_at
    second = database.jobs.begin_chunking(ref)

    assert first == second
    assert first is not None
    assert database.jobs.get("acme", ref.job_id).chunking_at == began


def test_the_source_tells_the_priority_of_the_job(database: Database) -> None:
    ref = admit(database, priority=80)

    source = database.jobs.begin_chunking(ref)

    assert source is not None
    assert source.priority == 80


def test_finishing_twice_has_one_effect(backend: Backend) -> None:
    job = a_chunked_job(backend.database)

    again = backend.database.jobs.finish_chunking(
        job.ref, some_chunks(5), some_batches(5, 1), [OutboxRow("acme", "embed", "extra", "{}")]
    )

    assert again is False
    assert len(backend.rows("chunks")) == len(backend.rows("batches")) == 2
    assert "extra" not in {row["message_key"] for row in backend.rows("outbox")}


def test_chunking_without_beginning_is_allowed(database: Database) -> None:
    ref = admit(database)

    finish(database, ref)

    assert _status(database, ref) is JobStatus.EMBEDDING


def test_chunks_are_kept_as_they_were_given(backend: Backend) -> None:
    chunks = [
        NewChunk(0, 0, 5, "été\n☃", 3, "e" * 64, ("A", 'B "quoted"', "C\\{}")),
        NewChunk(1, 5, 6, "\U0001f600", 1, "f" * 64),
    ]
    ref = admit(backend.database)

    backend.database.jobs.finish_chunking(ref, chunks, some_batches(2, 2), [])

    rows = sorted(backend.rows("chunks"), key=lambda row: row["chunk_index"])
    assert [row["text"] for row in rows] == ["été\n☃", "\U0001f600"]
    assert [row["heading_path"] for row in rows] == [["A", 'B "quoted"', "C\\{}"], []]
    assert [(row["start_offset"], row["end_offset"]) for row in rows] == [(0, 5), (5, 6)]


def test_a_document_without_chunks_is_done_at_once(backend: Backend) -> None:
    a_stored_job(backend.database)
    ref = admit(backend.database)

    assert backend.database.jobs.finish_chunking(ref, [], [], [])

    job = backend.database.jobs.get("acme", ref.job_id)
    assert (job.status, job.chunks_total) == (JobStatus.SUCCEEDED, 0)
    document = backend.database.documents.get("acme", "default", "doc")
    assert (document.version, document.chunks) == (2, 0)
    assert backend.rows("embeddings") == []


def test_storing_twice_has_one_effect(backend: Backend) -> None:
    job = a_chunked_job(backend.database)

    first = store(backend.database, job, 0)
    second = store(backend.database, job, 0, at=7)

    assert (first, second) == (True, False)
    [row] = backend.rows("embeddings")
    assert [float(value) for value in _values(row["embedding"])] == a_vector(0)
    assert backend.database.jobs.get("acme", job.ref.job_id).chunks_stored == 1


def _values(embedding: object) -> list[float]:
    if isinstance(embedding, str):
        return [float(value) for value in embedding.strip("[]").split(",")]
    assert isinstance(embedding, list)
    return embedding


def test_storing_after_success_has_no_effect(backend: Backend) -> None:
    job = a_stored_job(backend.database)

    again = [store(backend.database, job, number, at=7) for number in range(2)]

    assert again == [False, False]
    assert _stored_chunks(backend) == [(1, 0), (1, 1)]


def test_pending_names_what_is_still_wanted(database: Database) -> None:
    job = a_chunked_job(database, chunks=3)
    theirs = a_chunked_job(database, tenant_id="globex")
    cancelled = a_chunked_job(database, document_id="other")
    database.jobs.cancel("acme", cancelled.ref.job_id)
    store(database, job, 1)
    unknown = BatchRef(job.ref, 99)
    old = BatchRef(replace(job.ref, epoch=2), 0)

    wanted = database.jobs.pending(
        [*job.refs, *theirs.refs, *cancelled.refs, unknown, old, job.refs[0]]
    )

    assert wanted == {job.refs[0], job.refs[2], *theirs.refs}


def test_nothing_is_pending_of_nothing(database: Database) -> None:
    assert database.jobs.pending([]) == set()


FOREIGN = {
    "epoch": {"epoch": 2},
    "version": {"version": 2},
    "collection": {"collection": "other"},
    "document": {"document_id": "other"},
    "tenant": {"tenant_id": "globex"},
    "job": {"job_id": "00000000-0000-0000-0000-000000000000"},
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_message_that_does_not_match_the_job_has_no_effect(
    backend: Backend, change: dict[str, Any]
) -> None:
    database = backend.database
    queued = admit(database, document_id="queued")
    job = a_chunked_job(database)
    # A document of the changed name exists too: the job's row must tell them apart.
    admit(database, document_id="other")
    wrong, wrong_queued = replace(job.ref, **change), replace(queued, **change)

    effects = [
        database.jobs.begin_chunking(wrong_queued),
        database.jobs.finish_chunking(wrong_queued, some_chunks(1), some_batches(1, 1), []),
        store(database, ChunkedJob(wrong, job.batches), 0),
        database.jobs.fail(wrong, ERROR),
        database.jobs.spend_attempt(wrong_queued),
        database.jobs.spend_attempt(wrong, 0),
    ]

    assert effects == [None, False, False, False, 0, 0]
    assert database.jobs.pending([BatchRef(wrong, 0)]) == set()
    assert _status(database, queued) is JobStatus.QUEUED
    assert _status(database, job.ref) is JobStatus.EMBEDDING
    assert backend.rows("embeddings") == []


def test_another_models_vectors_are_refused(backend: Backend) -> None:
    job = a_chunked_job(backend.database)

    with pytest.raises(ModelMismatchError):
        backend.database.jobs.store(job.refs[0], "b" * 64, 3, packed([a_vector()]))

    assert backend.rows("embeddings") == []
    assert backend.database.jobs.pending(job.refs) == set(job.refs)


@pytest.mark.parametrize(
    ("dimensions", "vectors"),
    [
        (4, packed([[1.0, 0.0, 0.0, 0.0]])),
        (3, packed([a_vector(), a_vector()])),
        (3, packed([a_vector()])[:-1]),
        (3, b""),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    backend: Backend, dimensions: int, vectors: bytes
) -> None:
    job = a_chunked_job(backend.database)

    with pytest.raises(DimensionMismatchError):
        backend.database.jobs.store(job.refs[0], MODEL.fingerprint, dimensions, vectors)

    assert backend.rows("embeddings") == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0])
def test_vectors_without_direction_are_refused(backend: Backend, value: float) -> None:
    job = a_chunked_job(backend.database, size=2)
    vectors = packed([a_vector(), [value] * 3])

    with pytest.raises(BadVectorError):
        backend.database.jobs.store(job.refs[0], MODEL.fingerprint, 3, vectors)

    assert backend.rows("embeddings") == []


def test_publishing_removes_the_version_before(backend: Backend) -> None:
    a_stored_job(backend.database)

    a_stored_job(backend.database, chunks=1)

    assert _stored_chunks(backend) == [(2, 0)]
    assert [row["version"] for row in backend.rows("chunks")] == [2]
    document = backend.database.documents.get("acme", "default", "doc")
    assert (document.version, document.latest_version, document.chunks) == (2, 2, 1)


def test_an_older_version_after_a_newer_one_leaves_nothing(backend: Backend) -> None:
    database = backend.database
    older = a_chunked_job(database)
    store(database, older, 0)
    a_stored_job(database, chunks=1)

    late = [
        store(database, older, 1),
        database.jobs.begin_chunking(older.ref),
        database.jobs.finish_chunking(older.ref, some_chunks(2), some_batches(2, 1), []),
        database.jobs.fail(older.ref, ERROR),
    ]

    assert late == [False, None, False, False]
    assert _stored_chunks(backend) == [(2, 0)]
    assert database.documents.get("acme", "default", "doc").version == 2


def test_other_documents_are_untouched_by_publishing(backend: Backend) -> None:
    a_stored_job(backend.database, document_id="one")
    a_stored_job(backend.database, document_id="two", tenant_id="globex")

    a_stored_job(backend.database, document_id="one")

    kept = sorted((row["document_id"], row["version"]) for row in backend.rows("embeddings"))
    assert kept == [("one", 2), ("one", 2), ("two", 1), ("two", 1)]


def test_concurrent_stores_of_the_last_batches_publish_once(backend: Backend) -> None:
    for round_no in range(8):
        job = a_chunked_job(backend.database, document_id=f"doc-{round_no}", chunks=4)
        barrier = Barrier(4)

        def last(number: int, job: ChunkedJob = job, barrier: Barrier = barrier) -> bool:
            barrier.wait(timeout=10)
            return store(backend.database, job, number)

        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(last, range(4)))

        assert answers == [True] * 4
        assert _status(backend.database, job.ref) is JobStatus.SUCCEEDED
        assert backend.database.documents.get("acme", "default", f"doc-{round_no}").version == 1


def test_concurrent_deliveries_of_one_batch_have_one_effect(backend: Backend) -> None:
    job = a_chunked_job(backend.database)
    barrier = Barrier(4)

    def deliver(number: int) -> bool:
        barrier.wait(timeout=10)
        return store(backend.database, job, 0, at=number)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(deliver, range(4)))

    assert sorted(answers) == [False, False, False, True]
    assert len(backend.rows("embeddings")) == 1
    assert backend.database.jobs.get("acme", job.ref.job_id).chunks_stored == 1


def test_a_job_of_thousands_of_chunks_goes_through(backend: Backend) -> None:
    job = a_stored_job(backend.database, chunks=5_900, size=100, at=1)

    done = backend.database.jobs.get("acme", job.ref.job_id)
    assert (done.status, done.chunks_stored) == (JobStatus.SUCCEEDED, 5_900)
    assert len(backend.rows("embeddings")) == 5_900


def test_attempts_are_counted_apart(database: Database) -> None:
    queued = admit(database, document_id="queued")
    job = a_chunked_job(database)

    of_job = [database.jobs.spend_attempt(queued) for _ in range(2)]
    of_batch = [database.jobs.spend_attempt(job.ref, 0) for _ in range(3)]

    assert of_job == [1, 2]
    assert of_batch == [1, 2, 3]
    assert database.jobs.spend_attempt(job.ref, 1) == 1
    assert database.jobs.get("acme", queued.job_id).attempts == 2


def test_attempts_at_work_that_is_not_wanted_do_not_count(database: Database) -> None:
    job = a_chunked_job(database)
    store(database, job, 0)

    spent = [
        database.jobs.spend_attempt(job.ref),
        database.jobs.spend_attempt(job.ref, 0),
        database.jobs.spend_attempt(job.ref, 99),
    ]

    assert spent == [0, 0, 0]


def test_the_database_answers(database: Database) -> None:
    database.jobs.check()
