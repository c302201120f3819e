"""Entries that go back one by one, by filter, dry, and at a pace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from embedpipe.adapters.sealing import sealer_of
from embedpipe.domain.dead_letters import EntryState
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.errors import ConflictError
from embedpipe.ports.dlq_entries import EntryFilter
from embedpipe.ports.sealing import Sealer
from embedpipe.stages.requeue import Pace

from tests.builders import a_chunked_job, admit
from tests.unit.stages.dead_letter_desk import ACT, UNSEALED, Desk, a_body

ALL = EntryFilter()


def always() -> bool:
    return True


def a_desk_with(count: int, **options: Any) -> Desk:
    """A DLQ with so many approved entries that name no job."""
    desk = Desk(**options)
    for number in range(count):
        desk.reject(f"body {number}", code=f"CODE_{number % 2}")
    desk.mirror()
    desk.approve_all()
    return desk


@pytest.mark.parametrize("sealer", [sealer_of("A" * 43), UNSEALED])
def test_one_entry_goes_back_byte_for_byte_and_leaves_the_queue(sealer: Sealer) -> None:
    desk = Desk(sealer=sealer)
    ref = admit(desk.database)
    desk.database.jobs.fail(ref, JobError("POISON_CHUNK", "permanent", ""))
    body = a_body(ref)
    desk.reject(body)
    desk.mirror()
    desk.approve_all()
    [entry] = desk.entries()

    done = desk.requeue().one(entry.entry_id, ACT, keeps=False, is_dry=False)

    assert (done.matched, done.requeued, done.remaining) == (1, 1, 0)
    assert desk.queues["chunk"].bodies() == [body]
    assert (desk.dlq.backlog(), desk.entries()) == (0, [])
    assert desk.database.jobs.get("acme", ref.job_id).status is JobStatus.QUEUED
    assert [row["body"] for row in desk.database.rows("outbox")] == ["{}"]  # the admission's


def test_a_queue_that_is_away_leaves_the_message_to_the_sweep() -> None:
    desk = a_desk_with(1)
    [entry] = desk.entries()
    desk.queues["chunk"].is_available = False

    done = desk.requeue().one(entry.entry_id, ACT, keeps=False, is_dry=False)

    assert done.requeued == 1
    assert [row["body"] for row in desk.database.rows("outbox")] == ["body 0"]


def test_a_dry_run_says_what_would_be_and_changes_nothing() -> None:
    desk = a_desk_with(3)
    before = desk.entries()

    one = desk.requeue().one(before[0].entry_id, ACT, keeps=False, is_dry=True)
    every = desk.requeue().try_out(ALL, limit=500, has_time=always)

    assert (one.matched, one.requeued, one.remaining) == (1, 0, 1)
    assert (every.matched, every.requeued, every.remaining) == (3, 0, 3)
    assert desk.entries() == before
    assert desk.queues["chunk"].backlog() == 0


def test_a_dry_run_names_what_would_be_refused() -> None:
    desk = Desk("embed")
    job = a_chunked_job(desk.database)
    desk.database.jobs.cancel("acme", job.ref.job_id)
    desk.reject(a_body(job.ref))
    desk.mirror()
    desk.approve_all()
    [entry] = desk.entries()

    done = desk.requeue().try_out(ALL, limit=500, has_time=always)

    assert done.refused == {entry.entry_id: "DLQ_ENTRY_OBSOLETE"}
    assert desk.entries()[0].state is EntryState.APPROVED


def test_a_filter_puts_back_what_it_names_and_nothing_else() -> None:
    desk = a_desk_with(10)
    requeue = desk.requeue()

    done = requeue.matching(
        EntryFilter(error_code="CODE_1"), ACT, keeps=False, limit=500, has_time=always
    )

    assert (done.matched, done.requeued, done.remaining) == (5, 5, 0)
    assert sorted(desk.source.bodies()) == [f"body {n}" for n in (1, 3, 5, 7, 9)]
    assert len(desk.entries()) == desk.dlq.backlog() == 5


def test_what_nobody_approved_is_not_asked_for() -> None:
    desk = a_desk_with(4)
    first, second, *_ = desk.entries()
    desk.decide(first, EntryState.QUARANTINED)
    desk.decide(second, EntryState.IGNORED)

    done = desk.requeue().matching(ALL, ACT, keeps=False, limit=500, has_time=always)

    assert (done.matched, done.requeued) == (2, 2)
    with pytest.raises(ConflictError) as refused:
        desk.requeue().one(first.entry_id, ACT, keeps=False, is_dry=False)
    assert refused.value.code == "NOT_APPROVED"


def test_a_refused_entry_loses_its_approval_so_that_asking_again_ends() -> None:
    desk = Desk("embed")
    job = a_chunked_job(desk.database)
    desk.database.jobs.cancel("acme", job.ref.job_id)
    desk.reject(a_body(job.ref))
    desk.reject("names no job")
    desk.mirror()
    desk.approve_all()

    done = desk.requeue().matching(ALL, ACT, keeps=False, limit=500, has_time=always)
    again = desk.requeue().matching(ALL, ACT, keeps=False, limit=500, has_time=always)

    assert (done.requeued, list(done.refused.values())) == (1, ["DLQ_ENTRY_OBSOLETE"])
    assert (done.remaining, again.matched) == (0, 0)
    assert [entry.state for entry in desk.entries()] == [EntryState.QUARANTINED]


def test_a_key_that_is_not_at_hand_refuses_what_needs_the_body() -> None:
    desk = a_desk_with(1)
    desk.sealer = sealer_of("other:" + "B" * 43)

    done = desk.requeue().matching(ALL, ACT, keeps=False, limit=500, has_time=always)

    assert list(done.refused.values()) == ["DLQ_KEY_MISSING"]


def test_a_job_from_a_later_stage_starts_again_without_its_body() -> None:
    desk = Desk("embed")
    job = a_chunked_job(desk.database)
    desk.database.jobs.fail(job.ref, JobError("POISON_CHUNK", "permanent", ""))
    desk.reject(a_body(job.ref))
    desk.mirror()
    desk.approve_all()
    desk.sealer = sealer_of("other:" + "B" * 43)

    done = desk.requeue().matching(ALL, ACT, keeps=False, limit=500, has_time=always)

    assert done.requeued == 1
    assert desk.queues["embed"].backlog() == 0
    assert desk.queues["chunk"].backlog() == 1


def test_each_entry_is_written_down() -> None:
    desk = a_desk_with(2)

    desk.requeue().matching(ALL, ACT, keeps=False, limit=500, has_time=always)

    acts = [act for act in desk.database.audits.list().items if act.result == "requeued"]
    assert len({act.subject for act in acts}) == 2
    assert all(act.subject.startswith("chunk/") and act.note == "mended" for act in acts)


def test_a_bucket_that_is_empty_says_when_to_come_back() -> None:
    desk = a_desk_with(12, burst=10)
    requeue = replace(desk.requeue(), pace=Pace(rate=1, burst=10))

    first = requeue.matching(ALL, ACT, keeps=True, limit=10, has_time=always)
    slow = replace(requeue, pace=Pace(rate=1, burst=10), sleep=lambda _: None)
    slow_entry = desk.entries(state=EntryState.APPROVED)[0]
    one = slow.one(slow_entry.entry_id, ACT, keeps=True, is_dry=False)

    assert (first.requeued, first.remaining) == (10, 2)
    assert (one.requeued, one.retry_after_s) == (0, 1)


def test_the_pace_holds_over_many_entries() -> None:
    desk = a_desk_with(150, burst=1)
    requeue = replace(desk.requeue(), pace=Pace(rate=50, burst=200).of(10))
    started = desk.clock.now

    done = requeue.matching(ALL, ACT, keeps=False, limit=500, has_time=always)

    assert done.requeued == 150
    assert 14 <= desk.clock.now - started <= 15.5


def test_the_limit_and_the_time_end_it() -> None:
    desk = a_desk_with(30)

    limited = desk.requeue().matching(ALL, ACT, keeps=False, limit=7, has_time=always)
    late = desk.requeue().matching(ALL, ACT, keeps=False, limit=500, has_time=lambda: False)

    assert (limited.requeued, limited.remaining) == (7, 23)
    assert (late.requeued, late.remaining) == (0, 23)
