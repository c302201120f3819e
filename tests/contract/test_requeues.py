"""Dead letters that go back: what becomes of their jobs, and how fast."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from embedpipe.domain.dead_letters import EntryState
from embedpipe.domain.jobs import JobError, JobRef, JobStatus
from embedpipe.errors import ConflictError, PipelineError
from embedpipe.ports import OutboxRow
from embedpipe.ports.dlq_entries import Entry

from tests.builders import a_chunked_job, a_stored_job, admit, finish
from tests.contract.test_dlq_entries import an_act, an_entry, audited

if TYPE_CHECKING:
    from tests.conftest import Backend

BODY = '{"b": 1,  "a": "\\u00fc" }\n'
FAILED = JobError("POISON_CHUNK", "permanent", "cannot be computed")


def fresh(ref: JobRef, _traceparent: str | None) -> OutboxRow:
    return OutboxRow(ref.tenant_id, "chunk", f"{ref.job_id}/{ref.epoch}", "fresh")


def opened(_entry: Entry, body: bytes) -> str:
    return body.decode()


def a_letter(
    backend: Backend,
    ref: JobRef | None,
    stage: str = "chunk",
    *,
    approves: bool = True,
    **more: Any,
) -> Entry:
    """An entry that names a job, approved."""
    named: dict[str, Any] = {}
    if ref is not None:
        named = {"tenant_id": ref.tenant_id, "job_id": ref.job_id, "epoch": ref.epoch}
    given = {"entry_id": "m-1", "stage": stage, "source_queue": stage, "body": BODY.encode()}
    entry = an_entry(**{**given, **named, **more})
    backend.database.dlq_entries.add([entry])
    if approves:
        decide(backend, entry.stage, entry.entry_id)
    return backend.database.dlq_entries.get(entry.stage, entry.entry_id)


def decide(backend: Backend, stage: str, entry_id: str = "m-1") -> None:
    backend.database.dlq_entries.decide(stage, entry_id, EntryState.APPROVED, an_act())


def requeue(backend: Backend, entry: Entry, *, keeps: bool = False) -> OutboxRow:
    return backend.database.requeues.requeue(
        entry, an_act("dlq.requeue"), opened=opened, fresh=fresh, keeps=keeps
    )


def fail(backend: Backend, ref: JobRef) -> JobRef:
    assert backend.database.jobs.fail(ref, FAILED)
    return ref


def messages(backend: Backend) -> list[tuple[str, str]]:
    return [(row["queue"], row["body"]) for row in backend.rows("outbox") if row["body"] != "{}"]


def code_of(backend: Backend, entry: Entry) -> str:
    """What it is refused with, dry and in earnest; nothing changed."""
    before = (backend.rows("jobs"), messages(backend), audited(backend))
    codes = set()
    for act in (backend.database.requeues.check, lambda entry: requeue(backend, entry)):
        with pytest.raises(PipelineError) as refused:
            act(entry)
        codes.add(refused.value.code)
    assert (backend.rows("jobs"), messages(backend), audited(backend)) == before
    [code] = codes
    return code


class TestRequeue:
    def test_a_failed_job_starts_again_from_its_own_chunk_message(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        entry = a_letter(backend, ref)
        backend.database.requeues.check(entry)

        row = requeue(backend, entry)

        job = backend.database.jobs.get(ref.tenant_id, ref.job_id)
        assert (job.status, job.epoch, job.error) == (JobStatus.QUEUED, 2, None)
        assert (job.attempts, job.finished_at) == (0, None)
        assert (row.queue, row.body) == ("chunk", BODY)
        assert messages(backend) == [("chunk", BODY)]
        state = backend.database.dlq_entries.get("chunk", "m-1").state
        assert state is EntryState.REQUEUED
        assert [(one["action"], one["result"]) for one in audited(backend)] == [
            ("dlq.state", "approved_for_requeue"),
            ("dlq.requeue", "requeued"),
        ]

    def test_that_message_works_for_the_new_epoch(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        requeue(backend, a_letter(backend, ref))

        source = backend.database.jobs.begin_chunking(ref)

        assert source is not None
        assert source.epoch == 2
        again = replace(ref, epoch=2)
        assert not backend.database.jobs.finish_chunking(ref, [], [], [])
        finish(backend.database, again)
        assert backend.database.jobs.begin_chunking(ref) is None
        assert not backend.database.jobs.fail(ref, FAILED)

    def test_it_can_fail_again_and_be_put_back_again(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        requeue(backend, a_letter(backend, ref))
        assert backend.database.jobs.begin_chunking(ref)
        assert backend.database.jobs.spend_attempt(ref) == 1
        fail(backend, ref)
        second = a_letter(backend, ref, entry_id="m-2")

        requeue(backend, second)

        assert backend.database.jobs.get(ref.tenant_id, ref.job_id).epoch == 3
        source = backend.database.jobs.begin_chunking(ref)
        assert source is not None
        assert source.epoch == 3

    def test_from_later_stages_a_job_begins_with_a_message_of_its_own(
        self, backend: Backend
    ) -> None:
        job = a_chunked_job(backend.database)
        fail(backend, job.ref)
        entry = a_letter(backend, job.ref, "embed", batch_no=1)

        row = requeue(backend, entry)

        assert (row.queue, row.body) == ("chunk", "fresh")
        assert backend.database.jobs.begin_chunking(job.ref) is None
        assert backend.database.jobs.begin_chunking(replace(job.ref, epoch=2)) is not None
        assert not backend.database.jobs.fail(job.ref, FAILED)

    def test_a_chunk_message_of_a_job_that_failed_later_is_spent(self, backend: Backend) -> None:
        job = a_chunked_job(backend.database)
        fail(backend, job.ref)

        row = requeue(backend, a_letter(backend, job.ref))

        assert row.body == "fresh"
        assert backend.database.jobs.begin_chunking(job.ref) is None

    def test_the_message_of_a_job_that_waits_for_it_goes_back_to_its_lane(
        self, backend: Backend
    ) -> None:
        job = a_chunked_job(backend.database)
        entry = a_letter(backend, job.ref, "embed", source_queue="embed_low")

        row = requeue(backend, entry)

        assert (row.tenant_id, row.queue, row.body) == ("acme", "embed_low", BODY)
        assert backend.database.jobs.get("acme", job.ref.job_id).epoch == 1

    def test_a_message_that_names_no_job_goes_back_in_the_operators_name(
        self, backend: Backend
    ) -> None:
        row = requeue(backend, a_letter(backend, None))

        assert (row.tenant_id, row.queue, row.body) == ("acme", "chunk", BODY)
        assert messages(backend) == [("chunk", BODY)]

    def test_another_tenants_job_starts_again_too(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database, tenant_id="globex"))

        row = requeue(backend, a_letter(backend, ref))

        assert row.tenant_id == "globex"
        assert backend.database.jobs.get("globex", ref.job_id).epoch == 2

    def test_a_kept_entry_waits_for_a_decision_again(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        entry = a_letter(backend, ref)

        requeue(backend, entry, keeps=True)

        kept = backend.database.dlq_entries.get("chunk", "m-1")
        assert kept.state is EntryState.QUARANTINED
        assert code_of(backend, kept) == "NOT_APPROVED"

    def test_many_at_once_open_one_epoch(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        entry = a_letter(backend, ref)
        barrier = Barrier(6)

        def attempt(_: int) -> str:
            barrier.wait()
            try:
                requeue(backend, entry)
            except ConflictError as error:
                return error.code
            return "done"

        with ThreadPoolExecutor(6) as pool:
            outcomes = sorted(pool.map(attempt, range(6)))

        assert outcomes == ["NOT_APPROVED"] * 5 + ["done"]
        assert backend.database.jobs.get(ref.tenant_id, ref.job_id).epoch == 2
        assert messages(backend) == [("chunk", BODY)]

    def test_nothing_is_changed_when_the_body_cannot_be_opened(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        entry = a_letter(backend, ref)

        def sealed(_entry: Entry, _body: bytes) -> str:
            raise ConflictError(code="DLQ_KEY_MISSING")

        with pytest.raises(ConflictError):
            backend.database.requeues.requeue(
                entry, an_act("dlq.requeue"), opened=sealed, fresh=fresh
            )

        assert backend.database.jobs.get(ref.tenant_id, ref.job_id).epoch == 1
        assert backend.database.dlq_entries.get("chunk", "m-1").state is EntryState.APPROVED


class TestRefused:
    def test_what_nobody_approved(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))

        assert code_of(backend, a_letter(backend, ref, approves=False)) == "NOT_APPROVED"

    def test_what_is_gone(self, backend: Backend) -> None:
        entry = a_letter(backend, None)
        backend.database.dlq_entries.forget("chunk", ["m-1"])

        assert code_of(backend, entry) == "DLQ_ENTRY_NOT_FOUND"

    def test_a_job_that_is_gone_or_another_tenants(self, backend: Backend) -> None:
        ref = replace(admit(backend.database), job_id="00000000-0000-4000-8000-000000000009")

        assert code_of(backend, a_letter(backend, ref, tenant_id=None)) == "DLQ_ENTRY_OBSOLETE"

    def test_a_job_that_succeeded(self, backend: Backend) -> None:
        job = a_stored_job(backend.database)

        assert code_of(backend, a_letter(backend, job.ref, "store")) == "DLQ_ENTRY_OBSOLETE"

    def test_a_job_that_was_cancelled(self, backend: Backend) -> None:
        ref = admit(backend.database)
        backend.database.jobs.cancel(ref.tenant_id, ref.job_id)

        assert code_of(backend, a_letter(backend, ref)) == "DLQ_ENTRY_OBSOLETE"

    def test_a_job_of_a_later_epoch(self, backend: Backend) -> None:
        job = a_chunked_job(backend.database)
        fail(backend, job.ref)
        first = a_letter(backend, job.ref, "embed", batch_no=0)
        second = a_letter(backend, job.ref, "embed", batch_no=1, entry_id="m-2")

        requeue(backend, first)

        assert code_of(backend, second) == "DLQ_ENTRY_OBSOLETE"

    def test_a_document_that_was_deleted_does_not_come_back(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        backend.database.documents.delete(ref.tenant_id, ref.collection, ref.document_id)

        assert code_of(backend, a_letter(backend, ref)) == "DLQ_ENTRY_OBSOLETE"

    def test_a_version_that_a_newer_one_replaced(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        admit(backend.database)

        assert code_of(backend, a_letter(backend, ref)) == "DLQ_ENTRY_OBSOLETE"

    def test_a_job_that_is_skipped(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))
        backend.database.skips.skip(ref.job_id, 600, an_act("job.skip"))

        assert code_of(backend, a_letter(backend, ref)) == "JOB_SKIPPED"


class TestRestart:
    def state(self, backend: Backend, ref: JobRef) -> Any:
        return backend.database.dlq_entries.jobs([(ref.tenant_id, ref.job_id)])[
            ref.tenant_id, ref.job_id
        ]

    def test_a_failed_job_starts_again_and_says_what_to_send(self, backend: Backend) -> None:
        job = a_chunked_job(backend.database)
        fail(backend, job.ref)
        state = self.state(backend, job.ref)

        rows = [backend.database.requeues.restart("embed", 1, state, fresh) for _ in range(2)]

        assert [row and row.body for row in rows] == ["fresh", None]
        assert messages(backend) == [("chunk", "fresh")]
        assert backend.database.jobs.get("acme", job.ref.job_id).epoch == 2

    def test_a_chunk_message_needs_no_other(self, backend: Backend) -> None:
        ref = fail(backend, admit(backend.database))

        row = backend.database.requeues.restart("chunk", 1, self.state(backend, ref), fresh)

        assert row is None
        assert backend.database.jobs.begin_chunking(ref) is not None

    def test_a_job_that_did_not_fail_goes_on(self, backend: Backend) -> None:
        ref = admit(backend.database)

        row = backend.database.requeues.restart("chunk", 1, self.state(backend, ref), fresh)

        assert row is None
        assert backend.database.jobs.get("acme", ref.job_id).epoch == 1


class TestGrant:
    def test_a_full_bucket_gives_its_burst_and_then_what_flows_in(self, backend: Backend) -> None:
        requeues = backend.database.requeues

        first = requeues.grant("chunk", 500, rate=0.01, burst=20)
        second = requeues.grant("chunk", 10, rate=0.01, burst=20)
        other = requeues.grant("embed", 10, rate=0.01, burst=20)

        assert first.granted == 20
        assert second.granted == 0
        assert 90 < second.wait_s <= 100
        assert other.granted == 10

    def test_a_smaller_burst_holds_at_once(self, backend: Backend) -> None:
        requeues = backend.database.requeues
        requeues.grant("chunk", 0, rate=1, burst=200)

        assert requeues.grant("chunk", 100, rate=1, burst=5).granted == 5

    def test_together_no_more_is_taken_than_there_is(self, backend: Backend) -> None:
        with ThreadPoolExecutor(8) as pool:
            grants = pool.map(
                lambda _: backend.database.requeues.grant("store", 3, rate=0.001, burst=10),
                range(8),
            )

        assert sum(grant.granted for grant in grants) == 10
