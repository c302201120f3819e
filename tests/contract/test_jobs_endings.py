"""Cancelling and failing jobs, and that nothing comes back afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.jobs import JobError, JobRef, JobStatus
from embedpipe.errors import ConflictError
from embedpipe.ports import Database

from tests.builders import (
    ChunkedJob,
    a_chunked_job,
    a_stored_job,
    admit,
    some_batches,
    some_chunks,
    store,
)

if TYPE_CHECKING:
    from tests.conftest import Backend

ERROR = JobError("POISON_CHUNK", "permanent", "the model cannot compute this chunk")


def _queued(database: Database) -> JobRef:
    return admit(database)


def _chunking(database: Database) -> JobRef:
    ref = admit(database)
    assert database.jobs.begin_chunking(ref) is not None
    return ref


def _embedding(database: Database) -> JobRef:
    return a_chunked_job(database).ref


def _storing(database: Database) -> JobRef:
    job = a_chunked_job(database)
    assert store(database, job, 0)
    return job.ref


OPEN: list[Callable[[Database], JobRef]] = [_queued, _chunking, _embedding, _storing]


def _late_deliveries(database: Database, ref: JobRef) -> list[object]:
    """Deliver every message of the job once more."""
    batches = some_batches(2, 1)
    job = ChunkedJob(ref, batches)
    return [
        database.jobs.begin_chunking(ref),
        database.jobs.finish_chunking(ref, some_chunks(2), batches, []),
        store(database, job, 0),
        store(database, job, 1),
        database.jobs.fail(ref, ERROR),
        database.jobs.spend_attempt(ref),
        database.jobs.spend_attempt(ref, 0),
        database.jobs.pending(job.refs),
    ]


NO_EFFECT: list[object] = [None, False, False, False, False, 0, 0, set()]


def _nothing_is_stored(backend: Backend) -> bool:
    return not any(backend.rows(table) for table in ("chunks", "embeddings", "batches"))


@pytest.mark.parametrize("reach", OPEN)
def test_a_cancelled_job_leaves_nothing_and_does_not_come_back(
    backend: Backend, reach: Callable[[Database], JobRef]
) -> None:
    ref = reach(backend.database)

    cancelled = backend.database.jobs.cancel("acme", ref.job_id)

    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.error is not None
    assert cancelled.error.code == "CANCELLED"
    assert cancelled.finished_at is not None
    assert cancelled.chunks_stored == 0
    assert _late_deliveries(backend.database, ref) == NO_EFFECT
    assert _nothing_is_stored(backend)
    assert backend.database.jobs.get("acme", ref.job_id) == cancelled


@pytest.mark.parametrize("reach", OPEN)
def test_a_failed_job_leaves_nothing_and_does_not_come_back(
    backend: Backend, reach: Callable[[Database], JobRef]
) -> None:
    ref = reach(backend.database)

    assert backend.database.jobs.fail(ref, ERROR)

    failed = backend.database.jobs.get("acme", ref.job_id)
    assert (failed.status, failed.error) == (JobStatus.FAILED, ERROR)
    assert _late_deliveries(backend.database, ref) == NO_EFFECT
    assert _nothing_is_stored(backend)
    assert backend.database.jobs.get("acme", ref.job_id) == failed


def _succeeded(database: Database) -> JobRef:
    return a_stored_job(database).ref


def _failed(database: Database) -> JobRef:
    ref = admit(database)
    database.jobs.fail(ref, ERROR)
    return ref


def _cancelled(database: Database) -> JobRef:
    ref = admit(database)
    database.jobs.cancel("acme", ref.job_id)
    return ref


@pytest.mark.parametrize("reach", [_succeeded, _failed, _cancelled])
def test_a_final_job_cannot_be_cancelled(
    database: Database, reach: Callable[[Database], JobRef]
) -> None:
    ref = reach(database)
    before = database.jobs.get("acme", ref.job_id)

    with pytest.raises(ConflictError) as caught:
        database.jobs.cancel("acme", ref.job_id)

    assert caught.value.code == "JOB_FINAL"
    assert database.jobs.get("acme", ref.job_id) == before


def test_a_failed_newer_version_leaves_the_visible_one(backend: Backend) -> None:
    a_stored_job(backend.database)
    newer = a_chunked_job(backend.database)
    store(backend.database, newer, 0)

    backend.database.jobs.fail(newer.ref, ERROR)

    assert [row["version"] for row in backend.rows("embeddings")] == [1, 1]
    assert backend.database.documents.get("acme", "default", "doc").version == 1


def test_cancel_and_last_store_at_once_agree(backend: Backend) -> None:
    for round_no in range(10):
        job = a_chunked_job(backend.database, document_id=f"doc-{round_no}", chunks=1)
        barrier = Barrier(2)

        def cancel(job: ChunkedJob = job, barrier: Barrier = barrier) -> bool:
            barrier.wait(timeout=10)
            try:
                backend.database.jobs.cancel("acme", job.ref.job_id)
            except ConflictError:
                return False
            return True

        def last_store(job: ChunkedJob = job, barrier: Barrier = barrier) -> bool:
            barrier.wait(timeout=10)
            return store(backend.database, job, 0)

        with ThreadPoolExecutor(2) as threads:
            cancelling, storing = threads.submit(cancel), threads.submit(last_store)
        answers = (cancelling.result(), storing.result())

        assert answers in [(True, False), (False, True)]
        vectors = [
            row for row in backend.rows("embeddings") if row["document_id"] == job.ref.document_id
        ]
        status = backend.database.jobs.get("acme", job.ref.job_id).status
        assert (status, len(vectors)) == (
            (JobStatus.CANCELLED, 0) if answers[0] else (JobStatus.SUCCEEDED, 1)
        )


def test_cancelling_at_once_wins_once(backend: Backend) -> None:
    ref = a_chunked_job(backend.database).ref
    barrier = Barrier(4)

    def cancel(_: int) -> bool:
        barrier.wait(timeout=10)
        try:
            backend.database.jobs.cancel("acme", ref.job_id)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(cancel, range(4)))

    assert sorted(answers) == [False, False, False, True]
