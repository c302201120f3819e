from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.domain.jobs import JobStatus
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.errors import QueueUnavailableError
from embedpipe.messages import ChunkRequested, decode
from embedpipe.ports import OutboxRow, Outgoing
from embedpipe.stages.rescue import Rescued, rescue

from tests.builders import MODEL, a_chunked_job, admit

IDLE_S = 900.0


class Cloud:
    """A database and queues; every message that was sent is lost."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.database = MemoryDatabase(clock=lambda: self.now)
        self.database.create_tenant("acme", MODEL)
        names = ("chunk", *EMBED_QUEUES.values(), "store")
        self.queues = {name: MemoryQueue(name) for name in names}

    def a_lost_job(self) -> str:
        ref = admit(self.database)
        self.database.outbox.sent([OutboxRow("acme", "chunk", ref.job_id, "")])
        return ref.job_id

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def rescue(self, max_rescues: int = 2) -> Rescued:
        return rescue(
            database=self.database,
            queues=self.queues,
            idle_s=IDLE_S,
            max_rescues=max_rescues,
        )

    def lose_messages(self) -> None:
        queue = self.queues["chunk"]
        queue.ack(queue.receive(wait_s=0))


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
