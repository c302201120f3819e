"""Jobs that operators take out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from embedpipe.domain.audit import Act, Actor, AuditEntry
from embedpipe.domain.jobs import JobError, JobRef, JobStatus
from embedpipe.errors import NotFoundError
from embedpipe.ports import Database, OutboxRow
from embedpipe.ports.overview import STAGE_OF, Idle

from tests.builders import (
    MODEL,
    a_chunked_job,
    a_stored_job,
    admit,
    some_batches,
    some_chunks,
    store,
)

if TYPE_CHECKING:
    from tests.conftest import Backend

#: Of a tenant of its own: what it acts on belongs to others.
OPERATOR = Actor("globex", "key-of-olga")
HOUR = 3600.0
ALL = tuple(STAGE_OF)


def an_act(action: str = "job.skip", subject: str = "", note: str = "poison") -> Act:
    return Act(OPERATOR, action, subject, note)


def written(database: Database) -> list[AuditEntry]:
    return database.audits.list(actor=OPERATOR.name).items


def status(database: Database, ref: JobRef) -> JobStatus:
    return database.jobs.get(ref.tenant_id, ref.job_id).status


def test_a_skipped_job_is_cancelled_and_the_act_written_down(database: Database) -> None:
    ref = admit(database, tenant_id="acme")

    skipped = database.skips.skip(ref.job_id, HOUR, an_act(subject=ref.job_id))

    job = database.jobs.get("acme", ref.job_id)
    [entry] = written(database)
    assert (skipped.status, skipped.was_cancelled) == (JobStatus.CANCELLED, True)
    assert (job.status, job.error and job.error.code) == (JobStatus.CANCELLED, "SKIPPED")
    assert (entry.tenant_id, entry.actor) == ("globex", "key-of-olga")
    assert (entry.action, entry.subject) == ("job.skip", ref.job_id)
    assert (entry.result, entry.note) == ("cancelled", "poison")


def test_a_skip_holds_for_as_long_as_it_says(database: Database) -> None:
    ref = admit(database, tenant_id="acme")

    put = database.skips.skip(ref.job_id, HOUR, an_act()).skip

    assert database.skips.get(ref.job_id) == put
    assert (put.tenant_id, put.job_id, put.created_by) == ("acme", ref.job_id, "key-of-olga")
    assert put.expires_at - put.created_at == timedelta(seconds=HOUR)


@pytest.mark.parametrize("stage", ["queued", "chunking", "embedding", "storing"])
def test_what_a_skipped_job_stored_goes_with_it(backend: Backend, stage: str) -> None:
    database = backend.database
    if stage in ("queued", "chunking"):
        ref = admit(database)
        if stage == "chunking":
            database.jobs.begin_chunking(ref)
    else:
        job = a_chunked_job(database)
        ref = job.ref
        if stage == "storing":
            store(database, job, 0)
    assert status(database, ref).value == stage

    database.skips.skip(ref.job_id, HOUR, an_act())

    assert status(database, ref) is JobStatus.CANCELLED
    assert [backend.rows(table) for table in ("chunks", "embeddings", "batches")] == [[], [], []]


def test_a_final_job_stays_what_it_is_and_is_held_all_the_same(database: Database) -> None:
    ref = a_stored_job(database).ref

    skipped = database.skips.skip(ref.job_id, HOUR, an_act())

    assert (skipped.status, skipped.was_cancelled) == (JobStatus.SUCCEEDED, False)
    assert status(database, ref) is JobStatus.SUCCEEDED
    assert database.skips.get(ref.job_id) is not None
    assert written(database)[0].result == "already succeeded"


def test_a_second_skip_counts_from_its_own_moment(database: Database) -> None:
    ref = admit(database)
    first = database.skips.skip(ref.job_id, 10 * HOUR, an_act()).skip

    second = database.skips.skip(ref.job_id, HOUR, an_act()).skip

    assert second.expires_at < first.expires_at
    assert database.skips.get(ref.job_id) == second
    assert [entry.result for entry in written(database)] == ["already cancelled", "cancelled"]


@pytest.mark.parametrize("job_id", [str(uuid4()), "nonsense", "", "\0"])
def test_a_job_that_there_is_not_is_not_found_and_nothing_written_down(
    database: Database, job_id: str
) -> None:
    with pytest.raises(NotFoundError) as of_skip:
        database.skips.skip(job_id, HOUR, an_act())
    with pytest.raises(NotFoundError) as of_get:
        database.skips.get(job_id)

    assert {of_skip.value.code, of_get.value.code} == {"JOB_NOT_FOUND"}
    assert written(database) == []


def test_a_job_that_nobody_skipped_has_no_skip(database: Database) -> None:
    assert database.skips.get(admit(database).job_id) is None


def test_a_skip_that_is_over_holds_nothing_and_is_removed(backend: Backend) -> None:
    database = backend.database
    over, active = admit(database, document_id="one"), admit(database, document_id="two")
    backend.hold(over, -1)
    backend.hold(active, HOUR)

    removed = backend.maintenance.skips.remove_expired()

    assert removed == 1
    assert database.skips.get(over.job_id) is None
    assert database.skips.get(active.job_id) is not None
    assert database.jobs.begin_chunking(over) is not None


# ------------------------------------------------- should such a job somehow be open again


def assert_cancelled(database: Database, ref: JobRef) -> None:
    job = database.jobs.get(ref.tenant_id, ref.job_id)
    assert (job.status, job.error and job.error.code) == (JobStatus.CANCELLED, "SKIPPED")


def test_the_chunk_stage_does_not_begin_it(backend: Backend) -> None:
    ref = admit(backend.database)
    backend.hold(ref, HOUR)

    assert backend.database.jobs.begin_chunking(ref) is None

    assert_cancelled(backend.database, ref)


def test_the_chunk_stage_does_not_finish_it(backend: Backend) -> None:
    ref = admit(backend.database)
    assert backend.database.jobs.begin_chunking(ref) is not None
    backend.hold(ref, HOUR)

    finished = backend.database.jobs.finish_chunking(ref, some_chunks(1), some_batches(1, 1), [])

    assert not finished
    assert_cancelled(backend.database, ref)
    assert backend.rows("chunks") == backend.rows("batches") == []


def test_the_embed_stage_computes_nothing_of_it(backend: Backend) -> None:
    held = a_chunked_job(backend.database, document_id="held")
    fine = a_chunked_job(backend.database, document_id="fine")
    backend.hold(held.ref, HOUR)

    wanted = backend.database.jobs.pending([*held.refs, *fine.refs])

    assert wanted == set(fine.refs)
    assert_cancelled(backend.database, held.ref)
    assert status(backend.database, fine.ref) is JobStatus.EMBEDDING


def test_the_store_stage_stores_nothing_of_it(backend: Backend) -> None:
    job = a_chunked_job(backend.database)
    backend.hold(job.ref, HOUR)

    assert not store(backend.database, job, 0)

    assert_cancelled(backend.database, job.ref)
    assert backend.rows("embeddings") == []


def test_it_is_neither_found_stuck_nor_restarted(backend: Backend) -> None:
    ref = admit(backend.database)
    database = backend.database
    database.outbox.sent([a_message_of(ref)])
    backend.age_jobs(HOUR)
    [stalled] = backend.maintenance.rescues.stalled(ALL, idle_s=60, is_queue_empty=True)
    backend.hold(ref, HOUR)

    restarted = backend.maintenance.rescues.restart(stalled, a_message_of)

    assert restarted is None
    assert backend.maintenance.rescues.stalled(ALL, idle_s=60, is_queue_empty=True) == []
    assert database.overview.stuck(Idle(60, ALL, ALL)).items == []


def a_message_of(ref: JobRef) -> OutboxRow:
    return OutboxRow(ref.tenant_id, "chunk", ref.job_id, "{}")


# ---------------------------------------------------------------------------------- clearing


def test_open_jobs_of_a_tenant_are_cancelled_in_pages(database: Database) -> None:
    refs = [admit(database, document_id=f"{n}") for n in range(3)]
    others = admit(database, tenant_id="globex")
    act = an_act("jobs.clear", "acme", "wrong folder")

    counts = [database.skips.cancel_open("acme", act, limit=2) for _ in range(3)]

    assert counts == [2, 1, 0]
    assert {status(database, ref) for ref in refs} == {JobStatus.CANCELLED}
    assert status(database, others) is JobStatus.QUEUED
    assert [entry.result for entry in written(database)] == ["1 cancelled", "2 cancelled"]
    assert {entry.note for entry in written(database)} == {"wrong folder"}


def test_final_jobs_and_what_they_stored_stay(backend: Backend) -> None:
    database = backend.database
    done = a_stored_job(database, document_id="done")
    failed = admit(database, document_id="failed")
    database.jobs.fail(failed, JobError("INTERNAL", "transient", "it failed"))
    half = a_chunked_job(database, document_id="half")
    store(database, half, 0)

    cancelled = database.skips.cancel_open("acme", an_act())

    assert cancelled == 1
    assert status(database, done.ref) is JobStatus.SUCCEEDED
    assert status(database, failed) is JobStatus.FAILED
    assert {row["document_id"] for row in backend.rows("chunks")} == {"done"}
    job = database.jobs.get("acme", half.ref.job_id)
    assert (job.status, job.error and job.error.code) == (JobStatus.CANCELLED, "CLEARED")


def test_one_collection_is_cleared_without_the_others(database: Database) -> None:
    database.collections.create("acme", "private", MODEL, "")
    mine, theirs = admit(database), admit(database, collection="private")

    cancelled = database.skips.cancel_open("acme", an_act(), collection="private")

    assert cancelled == 1
    assert status(database, mine) is JobStatus.QUEUED
    assert status(database, theirs) is JobStatus.CANCELLED
