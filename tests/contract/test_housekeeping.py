"""What is over is removed in small steps, and nothing that anybody sees or needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.errors import NotFoundError
from embedpipe.ports import Compacted, Removed
from embedpipe.ports.heartbeats import KEPT_S

from tests.builders import a_chunked_job, a_stored_job, admit, store

if TYPE_CHECKING:
    from tests.conftest import Backend

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
ACT = Act(Actor("acme", "key"), "jobs.cleanup", "30 days")


def hide(backend: Backend, *, limit: int = 100) -> int:
    return backend.maintenance.housekeeping.hide_deleted(grace_s=WEEK_S, limit=limit)


def remove_hidden(backend: Backend, *, limit: int = 1000) -> Compacted:
    return backend.maintenance.housekeeping.remove_hidden(limit=limit)


def a_deleted_document(backend: Backend, document_id: str = "doc", *, chunks: int = 2) -> None:
    a_stored_job(backend.database, document_id=document_id, chunks=chunks)
    backend.database.documents.delete("acme", "default", document_id)


def remove_finished(backend: Backend, *, dry_run: bool = False, days: float = 30) -> Removed:
    due = backend.maintenance.housekeeping.finished(days=days, limit=100)
    done = Removed()
    for tenant_id in sorted({tenant_id for tenant_id, _ in due}):
        job_ids = [job_id for tenant, job_id in due if tenant == tenant_id]
        one = backend.maintenance.housekeeping.remove_finished(
            tenant_id, job_ids, days=days, dry_run=dry_run
        )
        done = Removed(done.jobs + one.jobs, done.versions + one.versions)
    return done


# Compaction


def test_a_document_deleted_long_ago_loses_its_chunks_and_vectors(backend: Backend) -> None:
    a_deleted_document(backend)
    backend.age_ends(WEEK_S + 60)

    hidden, removed, then = hide(backend), remove_hidden(backend), remove_hidden(backend)

    assert (hidden, removed, then) == (1, Compacted(1, 2), Compacted())
    assert backend.rows("chunks") == backend.rows("embeddings") == []


def test_within_the_grace_period_all_of_it_stays(backend: Backend) -> None:
    a_deleted_document(backend)
    backend.age_ends(WEEK_S - 60)

    hidden, removed = hide(backend), remove_hidden(backend)
    restored = backend.database.documents.restore("acme", "default", "doc")

    assert (hidden, removed) == (0, Compacted())
    assert (restored.version, restored.chunks) == (1, 2)
    assert backend.database.vectors.search("acme", "default", [1.0, 0.0, 0.0])


def test_a_document_restored_too_late_shows_nothing_and_can_be_put_again(backend: Backend) -> None:
    a_deleted_document(backend)
    backend.age_ends(WEEK_S + 60)
    hide(backend)

    restored = backend.database.documents.restore("acme", "default", "doc")
    found = backend.database.vectors.search("acme", "default", [1.0, 0.0, 0.0])
    remove_hidden(backend)
    again = a_stored_job(backend.database)
    document = backend.database.documents.get("acme", "default", "doc")

    assert (restored.version, restored.chunks, restored.deleted_at) == (None, 0, None)
    assert (found, again.ref.version) == ([], 2)
    assert (document.version, document.chunks) == (2, 2)
    assert {row["version"] for row in backend.rows("embeddings")} == {2}


def test_the_text_of_a_compacted_document_is_kept(backend: Backend) -> None:
    a_deleted_document(backend)
    backend.age_ends(WEEK_S + 60)
    hide(backend)
    remove_hidden(backend)

    assert [row["content"] for row in backend.rows("document_versions")] == ["some text"]


def test_a_version_put_while_its_document_is_compacted_is_not_touched(backend: Backend) -> None:
    a_deleted_document(backend, chunks=3)
    backend.age_ends(WEEK_S + 60)
    hide(backend)
    running = a_chunked_job(backend.database, chunks=3)
    store(backend.database, running, 0)

    removed = remove_hidden(backend)
    store(backend.database, running, 1)
    store(backend.database, running, 2)

    assert removed == Compacted(1, 3)
    assert [(row["version"], row["chunk_index"]) for row in backend.rows("embeddings")] == [
        (2, 0),
        (2, 1),
        (2, 2),
    ]


def test_a_transaction_removes_a_bounded_number_of_chunks_and_the_next_goes_on(
    backend: Backend,
) -> None:
    a_deleted_document(backend, "one", chunks=3)
    a_deleted_document(backend, "two", chunks=2)
    backend.age_ends(WEEK_S + 60)
    hide(backend)

    removed = [remove_hidden(backend, limit=2) for _ in range(4)]

    assert removed == [Compacted(0, 2), Compacted(0, 2), Compacted(2, 1), Compacted()]


def test_documents_of_all_tenants_are_hidden_a_page_at_a_time(backend: Backend) -> None:
    for tenant_id in ("acme", "globex"):
        for number in range(2):
            a_stored_job(backend.database, tenant_id=tenant_id, document_id=f"doc-{number}")
            backend.database.documents.delete(tenant_id, "default", f"doc-{number}")
    backend.age_ends(WEEK_S + 60)

    assert [hide(backend, limit=3) for _ in range(3)] == [3, 1, 0]


def test_documents_that_are_not_deleted_are_left_alone(backend: Backend) -> None:
    a_stored_job(backend.database)
    backend.age_ends(10 * WEEK_S)

    assert (hide(backend), remove_hidden(backend)) == (0, Compacted())


# Jobs and versions


def test_jobs_that_ended_long_ago_are_removed_and_what_is_visible_stays(backend: Backend) -> None:
    a_stored_job(backend.database, document_id="one")
    a_stored_job(backend.database, document_id="two", tenant_id="globex")
    backend.age_ends(30 * DAY_S + 60)
    recent = a_stored_job(backend.database, document_id="three")

    removed = remove_finished(backend)

    assert removed == Removed(jobs=2)
    assert [row["job_id"] for row in backend.rows("jobs")] == [type_of(backend, recent.ref.job_id)]
    assert backend.database.documents.get("globex", "default", "two").chunks == 2
    assert len(backend.database.vectors.search("acme", "default", [1.0, 0.0, 0.0])) == 4


def type_of(backend: Backend, job_id: str) -> object:
    """A job's id as the rows of a backend show it."""
    [shown] = [row["job_id"] for row in backend.rows("jobs") if str(row["job_id"]) == job_id]
    return shown


def test_a_job_that_is_not_final_is_never_old(backend: Backend) -> None:
    admit(backend.database, document_id="queued")
    a_chunked_job(backend.database, document_id="embedding")
    backend.age_ends(365 * DAY_S)

    assert remove_finished(backend) == Removed()


def test_an_old_version_goes_with_its_job(backend: Backend) -> None:
    a_stored_job(backend.database)
    a_stored_job(backend.database)
    backend.age_ends(31 * DAY_S)

    removed = remove_finished(backend)

    assert removed == Removed(jobs=2, versions=1)
    assert [row["version"] for row in backend.rows("document_versions")] == [2]


def test_a_version_whose_job_went_earlier_goes_with_the_next_one(backend: Backend) -> None:
    a_stored_job(backend.database)
    backend.age_ends(31 * DAY_S)
    first = remove_finished(backend)
    a_stored_job(backend.database)
    backend.age_ends(31 * DAY_S)

    assert (first, remove_finished(backend)) == (Removed(1, 0), Removed(1, 1))


def test_a_failed_latest_version_and_the_visible_one_before_it_stay(backend: Backend) -> None:
    a_stored_job(backend.database)
    failing = admit(backend.database)
    backend.database.jobs.fail(failing, JobError("POISON_CHUNK", "permanent", "bad"))
    backend.age_ends(31 * DAY_S)

    removed = remove_finished(backend)
    document = backend.database.documents.get("acme", "default", "doc")

    assert removed == Removed(jobs=2)
    assert (document.version, document.latest_version, document.chunks) == (1, 2, 2)


def test_a_version_that_another_job_names_stays(backend: Backend) -> None:
    cancelled = admit(backend.database)
    backend.database.jobs.cancel("acme", cancelled.job_id)
    backend.age_ends(31 * DAY_S)
    superseded = admit(backend.database)
    admit(backend.database)

    removed = remove_finished(backend)

    assert removed == Removed(jobs=1, versions=1)
    assert backend.database.jobs.get("acme", superseded.job_id).status is JobStatus.CANCELLED


def test_messages_of_a_removed_job_that_nobody_could_send_go_with_it(backend: Backend) -> None:
    ref = admit(backend.database, document_id="cancelled")
    backend.database.jobs.cancel("acme", ref.job_id)
    backend.age_ends(31 * DAY_S)
    other = admit(backend.database, document_id="open")

    remove_finished(backend)

    assert [row["message_key"] for row in backend.rows("outbox")] == [other.job_id]


def test_a_dry_run_counts_and_changes_nothing(backend: Backend) -> None:
    a_stored_job(backend.database)
    a_stored_job(backend.database)
    backend.age_ends(31 * DAY_S)

    dry, real = remove_finished(backend, dry_run=True), remove_finished(backend)

    assert dry == real == Removed(jobs=2, versions=1)


def test_the_idempotency_key_of_a_removed_job_is_free_again(backend: Backend) -> None:
    first = admit(backend.database, idempotency_key="key", request_sha256="one")
    backend.database.jobs.cancel("acme", first.job_id)
    backend.age_ends(31 * DAY_S)
    remove_finished(backend)

    second = admit(backend.database, idempotency_key="key", request_sha256="another")

    assert (second.job_id != first.job_id, second.version) == (True, 2)
    with pytest.raises(NotFoundError):
        backend.database.jobs.get("acme", first.job_id)


def test_a_job_that_a_skip_holds_is_kept(backend: Backend) -> None:
    ref = admit(backend.database)
    backend.database.jobs.cancel("acme", ref.job_id)
    backend.hold(ref, 90 * DAY_S)
    backend.age_ends(31 * DAY_S)

    assert backend.maintenance.housekeeping.finished(days=30, limit=10) == []


def test_a_job_that_is_skipped_while_others_are_removed_is_kept(backend: Backend) -> None:
    ref = admit(backend.database)
    backend.database.jobs.cancel("acme", ref.job_id)
    backend.age_ends(31 * DAY_S)
    keeping = backend.maintenance.housekeeping

    due = keeping.finished(days=30, limit=10)
    backend.hold(ref, 90 * DAY_S)
    removed = keeping.remove_finished("acme", [ref.job_id], days=30)

    assert (due, removed) == ([("acme", ref.job_id)], Removed())


def test_only_jobs_of_the_named_tenant_are_removed(backend: Backend) -> None:
    job = a_stored_job(backend.database, tenant_id="globex")
    backend.age_ends(31 * DAY_S)

    removed = backend.database.housekeeping.remove_finished("acme", [job.ref.job_id], days=30)

    assert removed == Removed()
    assert len(backend.rows("jobs")) == 1


def test_an_operator_removes_jobs_of_any_tenant_and_it_is_written_down(backend: Backend) -> None:
    job = a_stored_job(backend.database, tenant_id="globex")
    backend.age_ends(31 * DAY_S)

    due = backend.database.housekeeping.finished(days=30, limit=10)
    removed = backend.database.housekeeping.remove_finished(
        "globex", [job.ref.job_id], days=30, act=ACT
    )

    entries = [row for row in backend.rows("audit_log") if row["action"] == "jobs.cleanup"]
    assert (due, removed) == ([("globex", job.ref.job_id)], Removed(jobs=1))
    assert [(row["tenant_id"], row["result"]) for row in entries] == [
        ("acme", "globex: 1 jobs, 0 versions")
    ]


def test_an_act_that_found_nothing_to_remove_is_not_written_down(backend: Backend) -> None:
    job = a_stored_job(backend.database)

    removed = backend.database.housekeeping.remove_finished(
        "acme", [job.ref.job_id], days=30, act=ACT
    )

    assert removed == Removed()
    assert [row for row in backend.rows("audit_log") if row["action"] == "jobs.cleanup"] == []


# Records, texts, cursors


def test_the_audit_log_is_kept_for_so_long(backend: Backend) -> None:
    backend.database.audits.write(ACT, "done")
    backend.age_ends(2 * DAY_S)
    backend.database.audits.write(ACT, "newer")

    removed = backend.maintenance.housekeeping.remove_records(audit_days=1, days=30, limit=100)

    assert removed.audit >= 1
    assert [row["result"] for row in backend.rows("audit_log")] == ["newer"]


def test_workers_that_are_long_silent_are_forgotten(backend: Backend) -> None:
    backend.database.heartbeats.beat("old", "embed", state="running", in_flight=0, interval_s=5)
    backend.age_ends(KEPT_S + 60)
    keeping = backend.maintenance.housekeeping

    assert keeping.remove_records(audit_days=1, days=30, limit=100).heartbeats == 1
    assert backend.rows("worker_heartbeats") == []


def test_a_text_that_a_version_names_is_not_unnamed(backend: Backend) -> None:
    admit(backend.database, content=None, content_uri="s3://bucket/documents/acme/one")

    unnamed = backend.maintenance.housekeeping.unnamed(
        ["s3://bucket/documents/acme/one", "s3://bucket/documents/acme/two"]
    )

    assert unnamed == {"s3://bucket/documents/acme/two"}


def test_work_is_due_at_first_and_then_when_its_interval_is_over(backend: Backend) -> None:
    keeping = backend.maintenance.housekeeping

    first, at_once = keeping.begin("work", 60), keeping.begin("work", 60)
    backend.age_ends(61)

    assert (first, at_once, keeping.begin("work", 60)) == ("", None, "")


def test_work_that_was_left_in_the_middle_is_due_at_once(backend: Backend) -> None:
    keeping = backend.maintenance.housekeeping
    keeping.begin("work", 60)

    keeping.save("work", "page 2")
    goes_on = keeping.begin("work", 60)
    keeping.save("work", "")

    assert (goes_on, keeping.begin("work", 60)) == ("page 2", None)
