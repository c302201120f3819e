from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.errors import QueueUnavailableError, StoreUnavailableError
from embedpipe.messages import ChunkRequested, decode
from embedpipe.ports import OutboxRow, Outgoing, Stalled
from embedpipe.stages.rescue import Rescued, rescue

from tests.builders import MODEL, a_chunked_job, admit, finish, store

IDLE_S = 900.0


class Cloud:
    """A database and queues; every message that was sent is lost."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.database = MemoryDatabase(clock=lambda: self.now)
        self.database.create_tenant("acme", MODEL)
        self.refs: dict[str, JobRef] = {}
        names = ("chunk", *EMBED_QUEUES.values(), "store")
        self.queues = {name: MemoryQueue(name) for name in names}

    def a_lost_job(self, document_id: str = "doc") -> str:
        ref = admit(self.database, document_id=document_id)
        self.lose_outbox()
        self.refs[ref.job_id] = ref
        return ref.job_id

    def lose_outbox(self) -> None:
        for row in self.database.rows("outbox"):
            key = OutboxRow(row["tenant_id"], row["queue"], row["message_key"], "")
            self.database.outbox.sent([key])

    def control(self, stage: str, action: ControlAction) -> None:
        actor = Actor("acme", "operator")
        self.database.controls.set(stage, action, Act(actor, f"stage.{action}", stage))

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def rescue(self, max_rescues: int = 2, has_time: Callable[[], bool] = lambda: True) -> Rescued:
        return rescue(
            database=self.database,
            queues=self.queues,
            idle_s=IDLE_S,
            max_rescues=max_rescues,
            has_time=has_time,
        )

    def lose_messages(self) -> None:
        queue = self.queues["chunk"]
        queue.ack(queue.receive(wait_s=0))

    def work(self, job_id: str) -> None:
        ref = self.refs[job_id]
        assert self.database.jobs.begin_chunking(ref)
        store(self.database, finish(self.database, ref, chunks=1), 0)
        self.lose_outbox()
        queue = self.queues["chunk"]
        queue.ack(queue.receive(wait_s=0, max_messages=1))


def test_a_lost_job_gets_a_message_of_a_new_epoch() -> None:
    cloud = Cloud()
    job_id = cloud.a_lost_job()
    cloud.wait(IDLE_S + 1)

    rescued = cloud.rescue()

    [body] = cloud.queues["chunk"].bodies()
    message = decode(ChunkRequested, body)
    assert rescued == Rescued(restarted=1)
    assert (message.job_id, message.epoch) == (job_id, 2)
    assert cloud.database.rows("outbox") == []


def test_nothing_is_done_twice() -> None:
    cloud = Cloud()
    cloud.a_lost_job()
    cloud.wait(IDLE_S + 1)
    cloud.rescue()

    assert cloud.rescue() == Rescued()


def test_a_job_is_late_while_its_queue_holds_messages() -> None:
    cloud = Cloud()
    cloud.a_lost_job()
    cloud.wait(IDLE_S + 1)
    cloud.queues["chunk"].send([Outgoing("0", "{}", group_id="acme")])

    assert cloud.rescue() == Rescued()


def test_the_queues_of_other_stages_do_not_count() -> None:
    cloud = Cloud()
    cloud.a_lost_job()
    cloud.wait(IDLE_S + 1)
    cloud.queues["store"].send([Outgoing("0", "{}", group_id="acme")])

    assert cloud.rescue() == Rescued(restarted=1)


@pytest.mark.parametrize("name", EMBED_QUEUES.values())
def test_a_job_whose_batches_may_be_in_any_lane_is_late_while_one_lane_holds_messages(
    name: str,
) -> None:
    cloud = Cloud()
    job = a_chunked_job(cloud.database)
    cloud.database.outbox.sent([OutboxRow("acme", "chunk", job.ref.job_id, "")])
    for number in range(2):
        cloud.database.outbox.sent([OutboxRow("acme", "embed", f"{job.ref.job_id}/{number}", "")])
    cloud.wait(IDLE_S + 1)
    cloud.queues[name].send([Outgoing("0", "{}", group_id="acme")])
    late = cloud.rescue()

    cloud.queues[name].ack(cloud.queues[name].receive(wait_s=0))

    assert late == Rescued()
    assert cloud.rescue() == Rescued(restarted=1)


def test_a_queue_that_stands_for_several_lanes_is_asked_once() -> None:
    cloud = Cloud()
    asked: list[str] = []

    class Counting(MemoryQueue):
        def backlog(self) -> int:
            asked.append(self.name)
            return super().backlog()

    shared = Counting("embed")
    cloud.queues |= dict.fromkeys(EMBED_QUEUES.values(), shared)
    cloud.wait(IDLE_S + 1)

    cloud.rescue()

    assert asked == ["embed"]


def test_a_job_that_stops_again_and_again_fails() -> None:
    cloud = Cloud()
    job_id = cloud.a_lost_job()

    outcomes = []
    for _ in range(3):
        cloud.wait(10 * IDLE_S)
        outcomes.append(cloud.rescue(max_rescues=2))
        cloud.lose_messages()

    job = cloud.database.jobs.get("acme", job_id)
    assert outcomes == [Rescued(restarted=1), Rescued(restarted=1), Rescued(failed=1)]
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "RESCUES_SPENT"


def test_without_the_queue_nothing_is_restarted() -> None:
    cloud = Cloud()
    job_id = cloud.a_lost_job()
    cloud.wait(IDLE_S + 1)
    cloud.queues["chunk"].is_available = False

    with pytest.raises(QueueUnavailableError):
        cloud.rescue()

    assert cloud.database.jobs.get("acme", job_id).epoch == 1


def test_a_stage_that_is_paused_is_no_reason_to_start_its_jobs_again() -> None:
    cloud = Cloud()
    cloud.a_lost_job()
    cloud.control("chunk", ControlAction.PAUSE)
    cloud.wait(10 * IDLE_S)

    assert cloud.rescue() == Rescued()


def test_a_stage_that_was_paused_has_time_to_catch_up_first() -> None:
    cloud = Cloud()
    cloud.a_lost_job()
    cloud.control("chunk", ControlAction.PAUSE)
    cloud.wait(10 * IDLE_S)
    cloud.control("chunk", ControlAction.RESUME)
    cloud.wait(IDLE_S - 1)
    soon = cloud.rescue()
    cloud.wait(2)

    assert (soon, cloud.rescue()) == (Rescued(), Rescued(restarted=1))


@pytest.mark.parametrize("stage", ["chunk", "embed", "store"])
def test_a_job_that_was_chunked_waits_for_every_stage_that_it_would_need_again(stage: str) -> None:
    cloud = Cloud()
    a_chunked_job(cloud.database)
    cloud.lose_outbox()
    cloud.control(stage, ControlAction.PAUSE)
    cloud.wait(2 * IDLE_S)

    assert cloud.rescue() == Rescued()


def test_a_job_that_waits_for_chunks_does_not_wait_for_later_stages() -> None:
    cloud = Cloud()
    cloud.a_lost_job()
    cloud.control("store", ControlAction.PAUSE)
    cloud.wait(IDLE_S + 1)

    assert cloud.rescue() == Rescued(restarted=1)


def test_a_stage_that_drains_gets_its_lost_jobs_back_so_that_it_can_run_empty() -> None:
    cloud = Cloud()
    cloud.a_lost_job()
    cloud.control("chunk", ControlAction.DRAIN)
    cloud.wait(IDLE_S + 1)

    assert cloud.rescue() == Rescued(restarted=1)


def test_a_job_that_cannot_be_restarted_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud = Cloud()
    locked = cloud.a_lost_job("one")
    cloud.wait(1)
    cloud.a_lost_job("two")
    cloud.wait(IDLE_S + 1)
    restart = cloud.database.rescues.restart

    def locked_for_one(job: Stalled, outbox: Callable[[JobRef], OutboxRow]) -> OutboxRow | None:
        if job.ref.job_id == locked:
            raise StoreUnavailableError
        return restart(job, outbox)

    monkeypatch.setattr(cloud.database.rescues, "restart", locked_for_one)

    with pytest.raises(StoreUnavailableError):
        cloud.rescue()

    assert len(cloud.queues["chunk"].bodies()) == 1
    assert cloud.database.rows("outbox") == []


def test_a_database_that_is_away_is_not_asked_for_every_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud = Cloud()
    for number in range(10):
        cloud.a_lost_job(f"{number}")
    cloud.wait(IDLE_S + 1)
    asked: list[str] = []

    def away(job: Stalled, _outbox: Callable[[JobRef], OutboxRow]) -> OutboxRow | None:
        asked.append(job.ref.job_id)
        raise StoreUnavailableError

    monkeypatch.setattr(cloud.database.rescues, "restart", away)

    with pytest.raises(StoreUnavailableError):
        cloud.rescue()

    assert len(asked) == 3


def test_without_time_the_rest_is_left() -> None:
    cloud = Cloud()
    for number in range(3):
        cloud.a_lost_job(f"{number}")
    cloud.wait(IDLE_S + 1)
    left = iter([True])

    first = cloud.rescue(has_time=lambda: next(left, False))
    cloud.lose_messages()

    assert (first, cloud.rescue()) == (Rescued(restarted=1), Rescued(restarted=2))


def test_an_overload_is_late_and_not_lost() -> None:
    """Three times what the stage can take, for half an hour; its queue is roughly in order."""
    cloud, rng = Cloud(), random.Random(4)
    admitted, rescued, waiting = 0, Rescued(), list[str]()
    for minute in range(120):
        for _ in range(6 if minute < 30 else 0):
            job_id = cloud.a_lost_job(f"{admitted}")
            cloud.queues["chunk"].send([Outgoing(job_id, job_id, group_id="acme")])
            waiting.append(job_id)
            admitted += 1
        for _ in range(min(2, len(waiting))):
            cloud.work(waiting.pop(rng.randrange(min(10, len(waiting)))))
        cloud.wait(60)
        one = cloud.rescue()
        rescued = Rescued(rescued.restarted + one.restarted, rescued.failed + one.failed)

    statuses = {row["status"] for row in cloud.database.rows("jobs")}
    assert (admitted, waiting, statuses) == (180, [], {JobStatus.SUCCEEDED})
    assert rescued == Rescued()


def test_a_job_that_is_lost_in_an_overload_is_found() -> None:
    cloud = Cloud()
    lost = cloud.a_lost_job("lost")
    for minute in range(40):
        job_id = cloud.a_lost_job(f"{minute}")
        cloud.queues["chunk"].send([Outgoing(job_id, job_id, group_id="acme")])
        cloud.wait(60)
    cloud.queues["chunk"].send([Outgoing("more", "more", group_id="acme")])
    before = cloud.rescue()

    cloud.work(job_id)

    assert (before, cloud.rescue().restarted > 0) == (Rescued(), True)
    assert cloud.database.jobs.get("acme", lost).epoch == 2
