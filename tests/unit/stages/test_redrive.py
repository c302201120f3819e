"""All of a DLQ goes back, by the backend or by our mover, whenever that is killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from embedpipe.adapters.memory.dead_letters import MemoryDeadLetters
from embedpipe.domain.dead_letters import EntryState
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.ports import DeadLetter, MoveTask
from embedpipe.stages.redrive import LEASE_S

from tests.builders import a_chunked_job, admit
from tests.unit.stages.dead_letter_desk import ACT, Desk, a_body, times

FAILED = JobError("POISON_CHUNK", "permanent", "")


def always() -> bool:
    return True


def a_desk_with(count: int, stage: str = "chunk", **options: Any) -> Desk:
    desk = Desk(stage, **options)
    for number in range(count):
        desk.reject(f"body {number}")
    return desk


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the process would still do happens."""


def killed_at(desk: Desk, method: str, call: int, *, after: bool) -> None:
    """Have a call of the queue or the database kill the mover, before or after it was done."""
    owner = desk.letters if hasattr(desk.letters, method) else desk.database.redrives
    original = getattr(owner, method)
    calls = iter(range(1, 1000))

    def kill(*args: Any, **named: Any) -> Any:
        if next(calls) != call:
            return original(*args, **named)
        if after:
            original(*args, **named)
        raise Killed

    setattr(owner, method, kill)
    # A dead mover neither gives its lease back nor shows what it held.
    desk.database.redrives.release = lambda *_: None  # type: ignore[method-assign]
    desk.letters.hide = lambda *_: None  # type: ignore[method-assign]


def revived(desk: Desk) -> None:
    for name in ("release", "progress", "lease"):
        vars(desk.database.redrives).pop(name, None)
    for name in ("hide", "send_back", "delete", "receive"):
        vars(desk.letters).pop(name, None)


def test_all_messages_go_back_byte_for_byte_without_their_reasons() -> None:
    desk = a_desk_with(0)
    bodies = [f'{{"n": {number} ,\n "ü": 1}}' for number in range(25)]
    for body in bodies:
        desk.reject(body, own="kept")
    mover = desk.mover()
    mover.start(None, ACT)

    redrive = mover.advance(always)

    assert redrive is not None
    assert (redrive.status, redrive.moved, redrive.to_move) == ("completed", 25, 25)
    assert sorted(desk.source.bodies()) == sorted(bodies)
    assert {tuple(one.attributes.items()) for one in desk.source.peek()} == {(("own", "kept"),)}
    assert desk.dlq.backlog() == 0


def test_each_lane_gets_its_own_back() -> None:
    desk = Desk("embed")
    for lane in ("embed_high", "embed", "embed_low"):
        desk.reject(f"of {lane}", queue=lane)
    mover = desk.mover()
    mover.start(None, ACT)

    mover.advance(always)

    assert {name: queue.bodies() for name, queue in desk.sources.items()} == {
        lane: [f"of {lane}"] for lane in ("embed_high", "embed", "embed_low")
    }


def test_a_failed_job_of_the_chunk_stage_goes_on_with_the_message_that_comes_back() -> None:
    desk = Desk()
    ref = admit(desk.database)
    desk.database.jobs.fail(ref, FAILED)
    desk.reject(a_body(ref))
    mover = desk.mover()
    mover.start(None, ACT)

    mover.advance(always)

    assert desk.queues["chunk"].bodies() == [a_body(ref)] or len(desk.source.bodies()) == 1
    source = desk.database.jobs.begin_chunking(ref)
    assert source is not None
    assert source.epoch == 2


@pytest.mark.parametrize("has_tasks", [False, True])
def test_a_failed_job_of_a_later_stage_begins_anew(has_tasks: bool) -> None:
    desk = Desk("embed", has_tasks=has_tasks)
    job = a_chunked_job(desk.database)
    desk.database.jobs.fail(job.ref, FAILED)
    desk.reject(a_body(job.ref))
    mover = desk.mover()
    mover.start(None, ACT)

    mover.advance(always)

    assert desk.database.jobs.get("acme", job.ref.job_id).status is JobStatus.QUEUED
    assert desk.queues["chunk"].backlog() == desk.source.backlog() == 1
    assert desk.database.jobs.begin_chunking(job.ref) is None


def test_what_is_ignored_stays_and_is_visible_afterwards() -> None:
    desk = a_desk_with(30, has_tasks=True)
    desk.mirror()
    stays = desk.entries()[:4]
    for entry in stays:
        desk.decide(entry, EntryState.IGNORED)
    mover = desk.mover()
    mover.start(None, ACT)

    redrive = mover.advance(always)

    assert redrive is not None
    assert (redrive.status, redrive.moved, redrive.task_handle) == ("completed", 26, None)
    assert {message.message_id for message in desk.dlq.peek()} == {one.entry_id for one in stays}
    assert desk.dlq.depth == 4


def test_the_backend_moves_them_where_it_can() -> None:
    desk = a_desk_with(30, has_tasks=True)
    mover = desk.mover()
    mover.start(None, ACT)

    redrive = mover.advance(always)

    assert redrive is not None
    assert (redrive.status, redrive.moved) == ("completed", 30)
    assert redrive.task_handle is not None
    assert desk.source.backlog() == 30


def test_one_goes_on_at_a_time_and_who_asks_again_goes_on() -> None:
    desk = a_desk_with(30)
    first = desk.mover()
    started = first.start(None, ACT)
    again = desk.mover().start(100, ACT)

    part = first.advance(times(1))
    rest = desk.mover().advance(always)

    assert started.redrive_id == again.redrive_id
    assert part is not None
    assert (part.status, part.moved) == ("running", 12)
    assert rest is not None
    assert (rest.status, rest.moved) == ("completed", 30)


def test_a_second_mover_waits_while_the_first_has_the_lease() -> None:
    desk = a_desk_with(5)
    desk.mover().start(None, ACT)
    assert desk.database.redrives.lease("chunk", "another", LEASE_S)

    redrive = desk.mover().advance(always)

    assert redrive is not None
    assert (redrive.status, redrive.moved) == ("running", 0)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["receive", "send_back", "progress", "delete"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_mover_that_is_killed_loses_nothing_and_the_next_one_finishes(
    method: str, call: int, after: bool
) -> None:
    desk = a_desk_with(25)
    desk.mirror()
    desk.mover().start(None, ACT)
    killed_at(desk, method, call, after=after)
    with pytest.raises(Killed):
        desk.mover().advance(always)
    revived(desk)

    early = desk.mover().advance(always)
    desk.clock.sleep(LEASE_S + 20)
    redrive = desk.mover().advance(always)

    assert early is not None
    assert early.status == "running"
    assert redrive is not None
    assert redrive.status == "completed"
    assert set(desk.source.bodies()) == {f"body {number}" for number in range(25)}
    assert len(desk.source.bodies()) <= 37
    assert desk.dlq.backlog() == 0


def test_a_message_that_was_marked_and_not_deleted_is_not_sent_again() -> None:
    desk = a_desk_with(5)
    desk.mirror()
    desk.mover().start(None, ACT)
    killed_at(desk, "delete", 1, after=False)
    with pytest.raises(Killed):
        desk.mover().advance(always)
    revived(desk)
    desk.clock.sleep(LEASE_S + 20)

    desk.mover().advance(always)

    assert len(desk.source.bodies()) == 5
    assert desk.dlq.backlog() == 0


def test_the_pace_holds() -> None:
    desk = a_desk_with(200)
    mover = desk.mover()
    mover.start(10, ACT)
    started = desk.clock.now

    redrive = mover.advance(always)

    assert redrive is not None
    assert redrive.moved == 200
    assert 19 <= desk.clock.now - started <= 20.5


def test_a_cancelled_redrive_stops_and_the_rest_stays() -> None:
    desk = a_desk_with(30)
    mover = desk.mover()
    mover.start(None, ACT)
    mover.advance(times(1))

    cancelling = desk.database.redrives.cancel("chunk", ACT)
    redrive = mover.advance(always)

    assert cancelling.status == "cancelling"
    assert redrive is not None
    assert (redrive.status, redrive.moved) == ("cancelled", 12)
    assert desk.dlq.backlog() == 18


def test_a_mover_stops_when_another_cancels() -> None:
    desk = a_desk_with(30)

    class Cancelling(MemoryDeadLetters):
        def send_back(
            self, letters: Sequence[DeadLetter], *, counts: bool = False
        ) -> list[DeadLetter]:
            desk.database.redrives.cancel("chunk", ACT)
            return super().send_back(letters, counts=counts)

    desk.letters = Cancelling(desk.dlq, stage="chunk", sources=desk.sources)
    mover = desk.mover()
    mover.start(None, ACT)

    redrive = mover.advance(always)

    assert redrive is not None
    assert redrive.status == "cancelled"
    assert desk.dlq.backlog() == 30


def test_a_move_that_somebody_else_started_fails_the_redrive_with_the_reason() -> None:
    desk = a_desk_with(3, has_tasks=True)
    mover = desk.mover()
    mover.start(None, ACT)
    desk.letters.run_elsewhere()

    redrive = mover.advance(always)

    assert redrive is not None
    assert redrive.status == "failed"
    assert "already" in redrive.reason


def test_a_move_that_a_dead_mover_started_is_followed() -> None:
    desk = a_desk_with(3, has_tasks=True)
    mover = desk.mover()
    started = mover.start(None, ACT)
    begun_ms = int(started.started_at.timestamp() * 1000) + 1

    class Begun(MemoryDeadLetters):
        def newest_move(self) -> MoveTask | None:
            return MoveTask("RUNNING", 1, 3, begun_ms, "begun before")

    desk.letters = Begun(desk.dlq, stage="chunk", sources=desk.sources, has_tasks=True)
    desk.letters.run_elsewhere()

    redrive = desk.mover().advance(times(4))

    assert redrive is not None
    assert (redrive.status, redrive.task_handle, redrive.moved) == ("running", "begun before", 1)


def test_what_somebody_holds_is_waited_for_and_not_left_by_the_backend() -> None:
    desk = a_desk_with(30, has_tasks=True)
    desk.letters.receive(visibility_s=60)
    mover = desk.mover()
    mover.start(None, ACT)

    part = mover.advance(always)
    desk.clock.sleep(61)
    rest = mover.advance(always)

    assert part is not None
    assert (part.status, part.moved, part.task_handle) == ("running", 20, None)
    assert rest is not None
    assert (rest.status, rest.moved) == ("completed", 30)
    assert desk.source.backlog() == 30


def test_what_went_before_and_failed_again_begins_no_job_without_a_message() -> None:
    desk = Desk()
    ref = admit(desk.database)
    desk.database.jobs.fail(ref, FAILED)
    desk.reject(a_body(ref))
    desk.mirror()
    desk.approve_all()
    desk.letters.delete = lambda letters: list(letters)  # type: ignore[method-assign]
    desk.requeue().one(desk.entries()[0].entry_id, ACT, keeps=False, is_dry=False)
    del desk.letters.delete
    desk.database.jobs.fail(replace(ref, epoch=2), FAILED)
    desk.clock.sleep(60)
    mover = desk.mover()
    mover.start(None, ACT)

    mover.advance(always)

    assert desk.dlq.backlog() == 0
    assert desk.database.jobs.get("acme", ref.job_id).status is JobStatus.FAILED


def test_what_went_before_a_cancel_does_not_go_again() -> None:
    desk = a_desk_with(30)
    desk.mirror()

    class Cancelling(MemoryDeadLetters):
        def send_back(
            self, letters: Sequence[DeadLetter], *, counts: bool = False
        ) -> list[DeadLetter]:
            if desk.source.backlog() == 0:
                desk.database.redrives.cancel("chunk", ACT)
            return super().send_back(letters, counts=counts)

    desk.letters = Cancelling(desk.dlq, stage="chunk", sources=desk.sources)
    desk.mover().start(None, ACT)
    cancelled = desk.mover().advance(always)
    desk.clock.sleep(60)
    desk.mover().start(None, ACT)

    desk.mover().advance(always)

    assert cancelled is not None
    assert (cancelled.status, cancelled.moved) == ("cancelled", 12)
    assert sorted(desk.source.bodies()) == sorted(f"body {number}" for number in range(30))


def test_what_fails_again_at_once_does_not_go_round() -> None:
    desk = a_desk_with(15)

    class Failing(MemoryDeadLetters):
        def send_back(
            self, letters: Sequence[DeadLetter], *, counts: bool = False
        ) -> list[DeadLetter]:
            desk.clock.sleep(0.01)
            for letter in letters:
                desk.reject(letter.received.body)
            return list(letters)

    desk.letters = Failing(desk.dlq, stage="chunk", sources=desk.sources)
    mover = desk.mover()
    mover.start(None, ACT)

    redrive = mover.advance(times(100))

    assert redrive is not None
    assert (redrive.status, redrive.moved) == ("completed", 15)
    assert desk.dlq.depth == 15


def test_without_a_redrive_there_is_nothing_to_do() -> None:
    desk = a_desk_with(3)

    assert desk.mover().advance(always) is None
    assert desk.dlq.backlog() == 3
