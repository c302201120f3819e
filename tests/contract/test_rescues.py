"""Jobs that stopped moving: found when they are lost and not late, restarted behind the fence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.jobs import BatchRef, JobRef, JobStatus
from embedpipe.ports import OutboxRow, Stalled

from tests.builders import (
    MODEL,
    a_chunked_job,
    a_vector,
    admit,
    packed,
    some_batches,
    some_chunks,
)

if TYPE_CHECKING:
    from tests.conftest import Backend

OPEN = (JobStatus.QUEUED, JobStatus.CHUNKING, JobStatus.EMBEDDING, JobStatus.STORING)
HOUR_S = 3600.0


def all_sent(backend: Backend) -> None:
    """Every message left for its queue."""
    for row in backend.rows("outbox"):
        names = ("tenant_id", "queue", "message_key", "body")
        backend.maintenance.outbox.sent([OutboxRow(*(row[name] for name in names))])


def found(
    backend: Backend, *statuses: JobStatus, idle_s: float = HOUR_S, is_queue_empty: bool = True
) -> list[Stalled]:
    return backend.maintenance.rescues.stalled(
        statuses or OPEN, idle_s=idle_s, is_queue_empty=is_queue_empty
    )


def a_row(ref: JobRef) -> OutboxRow:
    return OutboxRow(ref.tenant_id, "chunk", f"{ref.job_id}/{ref.epoch}", "{}")


def store(backend: Backend, ref: BatchRef, *, chunks: int = 1) -> bool:
    vectors = packed([a_vector(at) for at in range(chunks)])
    return backend.database.jobs.store(ref, MODEL.fingerprint, MODEL.dimensions, vectors)


def test_a_job_that_moved_lately_is_not_stalled(backend: Backend) -> None:
    admit(backend.database)
    all_sent(backend)
    backend.age_jobs(HOUR_S - 60)

    assert found(backend) == []


def test_jobs_of_all_tenants_are_found_longest_stalled_first(backend: Backend) -> None:
    first = admit(backend.database, tenant_id="acme")
    backend.age_jobs(60)
    second = admit(backend.database, tenant_id="globex")
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)

    assert [job.ref for job in found(backend)] == [first, second]


def test_only_the_wanted_statuses_are_found(backend: Backend) -> None:
    queued = admit(backend.database, document_id="queued")
    embedding = a_chunked_job(backend.database, document_id="embedding").ref
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)

    assert [job.ref for job in found(backend, JobStatus.QUEUED)] == [queued]
    assert [job.ref for job in found(backend, JobStatus.EMBEDDING)] == [embedding]


def test_a_job_whose_message_waits_in_the_outbox_is_not_lost(backend: Backend) -> None:
    admit(backend.database)
    backend.age_jobs(2 * HOUR_S)

    assert found(backend) == []


def test_a_job_that_waits_in_a_queue_is_late_and_not_lost(backend: Backend) -> None:
    admit(backend.database)
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)

    assert found(backend, is_queue_empty=False) == []


def test_a_job_that_a_later_one_of_its_tenant_overtook_is_lost(backend: Backend) -> None:
    lost = admit(backend.database, document_id="lost")
    backend.age_jobs(2 * HOUR_S)
    others = a_chunked_job(backend.database, tenant_id="globex", chunks=1)
    store(backend, others.refs[0])
    all_sent(backend)
    before = found(backend, is_queue_empty=False)
    later = a_chunked_job(backend.database, document_id="later", chunks=1)
    store(backend, later.refs[0])
    all_sent(backend)

    after = found(backend, is_queue_empty=False)

    assert before == []
    assert [job.ref for job in after] == [lost]


def test_a_restarted_job_is_queued_in_a_new_epoch_with_its_message(backend: Backend) -> None:
    ref = admit(backend.database)
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)
    [stalled] = found(backend)

    row = backend.maintenance.rescues.restart(stalled, a_row)

    job = backend.database.jobs.get(ref.tenant_id, ref.job_id)
    assert (job.status, job.epoch) == (JobStatus.QUEUED, 2)
    assert row is not None
    assert row.key == f"{ref.job_id}/2"
    assert [entry["message_key"] for entry in backend.rows("outbox")] == [row.key]


def test_an_operator_of_another_tenant_restarts_and_it_is_written_down(backend: Backend) -> None:
    ref = admit(backend.database, tenant_id="acme")
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)
    [stalled] = found(backend)
    backend.maintenance.rescues.restart(stalled, a_row)
    all_sent(backend)
    backend.age_jobs(5 * HOUR_S)
    [rescued] = found(backend)
    act = Act(Actor("globex", "key-of-olga"), "job.reset", ref.job_id, "now")

    row = backend.database.rescues.restart(rescued, a_row, act)
    again = backend.database.rescues.restart(rescued, a_row, act)

    [entry] = backend.database.audits.list(actor="key-of-olga").items
    [job] = backend.rows("jobs")
    assert (rescued.rescues, job["rescues"], job["epoch"]) == (1, 0, 3)
    assert (row is not None, again) == (True, None)
    assert (entry.tenant_id, entry.subject, entry.note) == ("globex", ref.job_id, "now")
    assert entry.result == "restarted in epoch 3"


def test_nothing_of_the_earlier_epoch_is_left_or_has_an_effect(backend: Backend) -> None:
    chunked = a_chunked_job(backend.database, chunks=2)
    store(backend, chunked.refs[0])
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)
    [stalled] = found(backend)

    backend.maintenance.rescues.restart(stalled, a_row)

    assert backend.rows("chunks") == backend.rows("batches") == []
    assert not store(backend, chunked.refs[1])
    assert backend.database.jobs.begin_chunking(chunked.ref) is None
    assert backend.database.jobs.pending(chunked.refs) == set()


def test_a_restarted_job_can_succeed(backend: Backend) -> None:
    ref = admit(backend.database)
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)
    [stalled] = found(backend)
    backend.maintenance.rescues.restart(stalled, a_row)
    again = JobRef(ref.tenant_id, ref.job_id, 2, ref.collection, ref.document_id, ref.version)

    assert backend.database.jobs.begin_chunking(again) is not None


def test_a_job_that_moved_since_it_was_seen_is_left_alone(backend: Backend) -> None:
    ref = admit(backend.database)
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)
    [stalled] = found(backend)
    backend.database.jobs.begin_chunking(ref)

    assert backend.maintenance.rescues.restart(stalled, a_row) is None
    assert backend.database.jobs.get(ref.tenant_id, ref.job_id).epoch == 1


def test_a_job_is_restarted_once_however_often_it_was_seen(backend: Backend) -> None:
    admit(backend.database)
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)
    [stalled] = found(backend)

    rows = [backend.maintenance.rescues.restart(stalled, a_row) for _ in range(2)]

    assert [row is None for row in rows] == [False, True]


def test_a_cancelled_job_stays_cancelled(backend: Backend) -> None:
    ref = admit(backend.database)
    all_sent(backend)
    backend.age_jobs(2 * HOUR_S)
    [stalled] = found(backend)
    backend.database.jobs.cancel(ref.tenant_id, ref.job_id)

    assert backend.maintenance.rescues.restart(stalled, a_row) is None
    assert found(backend) == []


def test_each_rescue_doubles_the_wait_for_the_next(backend: Backend) -> None:
    admit(backend.database)
    all_sent(backend)
    backend.age_jobs(1.5 * HOUR_S)
    [stalled] = found(backend)
    backend.maintenance.rescues.restart(stalled, a_row)
    all_sent(backend)

    backend.age_jobs(1.5 * HOUR_S)
    soon = found(backend)
    backend.age_jobs(HOUR_S)
    later = found(backend)

    assert soon == []
    assert [job.rescues for job in later] == [1]


def test_rows_of_every_lane_count_as_waiting_in_the_outbox(backend: Backend) -> None:
    for lane in ("embed", "embed_high", "embed_low"):
        ref = admit(backend.database, document_id=lane)
        rows = [OutboxRow("acme", lane, f"{ref.job_id}/1/0", "{}")]
        backend.database.jobs.finish_chunking(ref, some_chunks(1), some_batches(1, 1), rows)
        backend.database.outbox.sent([OutboxRow("acme", "chunk", ref.job_id, "")])
    backend.age_jobs(2 * HOUR_S)

    assert found(backend) == []


def test_a_job_that_more_urgent_ones_overtook_is_late(backend: Backend) -> None:
    admit(backend.database, document_id="patient", priority=10)
    backend.age_jobs(2 * HOUR_S)
    urgent = a_chunked_job(backend.database, document_id="urgent", chunks=1, priority=90)
    store(backend, urgent.refs[0])
    all_sent(backend)

    assert found(backend, is_queue_empty=False) == []


def test_a_job_that_those_of_another_collection_overtook_is_late(backend: Backend) -> None:
    backend.database.collections.create("acme", "other", MODEL, "")
    admit(backend.database, document_id="waits for its provider")
    backend.age_jobs(2 * HOUR_S)
    other = a_chunked_job(backend.database, collection="other", chunks=1)
    store(backend, other.refs[0])
    all_sent(backend)

    assert found(backend, is_queue_empty=False) == []
