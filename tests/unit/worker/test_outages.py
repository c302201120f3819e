from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from embedpipe.adapters.memory import FakeEmbedder, MemoryBlobs, MemoryQueue
from embedpipe.domain.jobs import BatchRef, JobStatus
from embedpipe.errors import MessageTooLargeError, StoreUnavailableError
from embedpipe.messages import StoreRequested, decode
from embedpipe.ports import Outgoing
from embedpipe.worker.outage import Outage

from tests.unit.worker.bench import Bench, Clock, some_settings, token


class Slow(FakeEmbedder):
    """After its warm-up, a model that takes as long as a test says, in beats."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.beats: list[Any] = []

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        for beat in self.beats if self.calls else []:
            self.clock.now += 1
            beat()
        return super().embed(token_ids)


class Picky(MemoryQueue):
    """A queue that takes no message of the jobs named."""

    refused: str = ""
    calls = 0

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        self.calls += 1
        if any(self.refused in message.body for message in messages):
            raise MessageTooLargeError
        return super().send(messages)


class Reluctant(MemoryQueue):
    """A queue that takes one message of each call."""

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        return super().send(messages[:1])


def test_a_failed_send_acknowledges_nothing_and_loses_no_work() -> None:
    bench = Bench()
    message = bench.submit("some text")
    bench.store_queue.is_available = False
    bench.worker.drain()
    unsent = (len(bench.queue.peek()), bench.held)

    bench.store_queue.is_available = True
    bench.worker.drain()
    bench.store_all()

    assert unsent == (1, 1)
    assert bench.jobs.status(message) is JobStatus.SUCCEEDED
    assert bench.counts["passes"] == 1
    assert not bench.queue.peek()
    assert bench.held == 0


def test_an_outage_is_logged_once_and_its_end_once() -> None:
    bench = Bench()
    bench.submit("some text")
    bench.store_queue.is_available = False
    for _ in range(5):
        bench.worker.drain()

    bench.store_queue.is_available = True
    bench.worker.drain()

    assert bench.log.getvalue().count("calls fail") == 1
    assert bench.log.getvalue().count("calls work again") == 1


def test_a_failed_acknowledgement_is_repeated_and_the_result_sent_once() -> None:
    bench = Bench()
    bench.submit("some text")
    bench.worker.receiver.step(0.0)
    bench.worker.engine.step()
    bench.queue.is_available = False
    bench.worker.sender.step()

    bench.queue.is_available = True
    bench.worker.sender.step()

    assert len(bench.answers()) == 1
    assert not bench.queue.peek()


def test_a_queue_that_takes_a_part_gets_the_rest_again() -> None:
    queue = Reluctant("store")
    bench = Bench(overrides={"store_queue": queue})
    for n in range(3):
        bench.submit(f"text {n}")

    bench.worker.drain()

    assert len(queue.peek()) == 3
    assert not bench.queue.peek()


def test_results_that_need_no_object_store_do_not_wait_for_it() -> None:
    blobs = MemoryBlobs()
    queue = MemoryQueue("store", max_message_bytes=4096, blobs=blobs)
    bench = Bench(overrides={"store_queue": queue})
    large = [bench.submit(*[f"text {n} {at}" for at in range(200)]) for n in range(2)]
    small = [bench.submit(f"text {n}") for n in range(3)]
    blobs.is_available = False
    for _ in range(3):
        bench.worker.drain()
    sent = {one.batch for one in map(partial(decode, StoreRequested), queue.bodies())}

    blobs.is_available = True
    bench.worker.drain()

    assert sent == {message.batch for message in small}
    assert len(queue.bodies()) == len(small) + len(large)
    assert bench.held == 0


def test_an_answer_that_can_never_be_sent_fails_only_its_job() -> None:
    queue = Picky("store")
    bench = Bench(overrides={"store_queue": queue})
    messages = [bench.submit(f"text {n}") for n in range(3)]
    queue.refused = messages[1].job_id

    bench.worker.drain()

    assert len(queue.peek()) == 2
    assert bench.jobs.error_code(messages[1]) == "MESSAGE_TOO_LARGE"
    assert not bench.queue.peek()


def test_messages_wait_for_the_database_and_nothing_more_is_received() -> None:
    bench = Bench()
    jobs, asked = bench.jobs.database.jobs, []

    class Away:
        def __getattr__(self, name: str) -> Any:
            return getattr(jobs, name)

        def pending(self, batches: Sequence[BatchRef]) -> set[BatchRef]:
            asked.append(len(bench.queue.peek()))
            if len(asked) < 4:
                raise StoreUnavailableError
            return jobs.pending(batches)

    bench.overrides["jobs"] = Away()
    worker = bench.another_worker()
    for n in range(15):
        bench.submit(f"text {n}")

    received = worker.receiver.step(0.0)

    assert received == 10
    assert len(asked) == 4
    assert bench.queue.depth == 5
    assert len(worker.context.buffer) == 10


def test_a_failure_is_not_copied_to_the_dlq_while_the_database_is_away() -> None:
    bench = Bench(embedder=FakeEmbedder(poison_ids=[token("poison")]))
    jobs = bench.jobs.database.jobs
    down = [True]

    class Away:
        def __getattr__(self, name: str) -> Any:
            return getattr(jobs, name)

        def check(self) -> None:
            if down:
                raise StoreUnavailableError

    bench.overrides["jobs"] = Away()
    worker = bench.another_worker()
    message = bench.submit("poison")
    for _ in range(3):
        worker.drain()
    copies = len(bench.dlq.peek())

    down.clear()
    worker.drain()

    assert copies == 0
    assert len(bench.dlq.peek()) == 1
    assert bench.jobs.error_code(message) == "POISON_CHUNK"


def test_a_beat_extends_what_waits_in_the_buffer() -> None:
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=30))
    bench.submit("some text")
    bench.worker.receiver.step(0.0)
    for _ in range(9):
        bench.clock.now += 10
        bench.worker.heartbeat.beat()

    redelivered = bench.queue.receive(wait_s=0)

    assert redelivered == []
    bench.worker.drain()
    assert not bench.queue.peek()


def test_a_pass_of_twice_the_visibility_loses_no_lease() -> None:
    clock = Clock()
    slow = Slow(clock)
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=30), clock=clock, embedder=slow)
    bench.submit("some text")
    seconds = iter(range(60))

    def beat() -> None:
        if next(seconds) % 10 == 9:
            bench.worker.heartbeat.beat()
        assert bench.queue.depth == 0

    slow.beats = [beat] * 60

    bench.worker.drain()

    assert len(bench.answers()) == 1
    assert not bench.queue.peek()
    assert bench.counts["passes"] == 1


def test_without_beats_the_result_is_sent_and_the_lost_delivery_left_alone() -> None:
    clock = Clock()
    slow = Slow(clock)
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=30), clock=clock, embedder=slow)
    bench.submit("some text")
    slow.beats = [lambda: None] * 60
    bench.worker.receiver.step(0.0)
    bench.worker.engine.step()
    [other] = bench.queue.receive(wait_s=0)

    bench.worker.sender.step()

    assert len(bench.answers()) == 1
    assert [one.receipt_handle for one in bench.queue.peek()] == [other.receipt_handle]
    assert bench.queue.in_flight == 1
    assert bench.held == 0


def test_a_message_whose_lease_is_lost_before_its_turn_costs_no_pass() -> None:
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=30))
    bench.submit("some text")
    bench.worker.receiver.step(0.0)
    bench.clock.now += 31

    bench.worker.engine.step()

    assert bench.counts["passes"] == 0
    assert bench.counts["expired"] == 1
    assert bench.held == 0


def test_a_failed_message_whose_lease_is_lost_is_left_to_its_next_delivery() -> None:
    bench = Bench(embedder=FakeEmbedder(poison_ids=[token("poison")]))
    message = bench.submit("poison")
    bench.worker.receiver.step(0.0)
    bench.worker.engine.step()
    bench.clock.now += 61

    bench.worker.sender.step()

    assert bench.jobs.error_code(message) is None
    assert not bench.dlq.peek()
    assert bench.held == 0


def test_one_missed_beat_does_no_harm_and_two_lose_the_lease() -> None:
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=30))
    bench.submit("some text")
    bench.worker.receiver.step(0.0)
    [held] = bench.worker.context.holdings.all()
    bench.queue.is_available = False

    bench.clock.now += 20
    again_s = bench.worker.heartbeat.beat()
    live_after_one = bench.worker.context.holdings.live(held)
    bench.clock.now += 10
    bench.worker.heartbeat.beat()

    assert again_s > 0
    assert live_after_one
    assert not bench.worker.context.holdings.live(held)


def test_a_lease_is_not_extended_beyond_what_the_queue_allows() -> None:
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=30))
    bench.submit("some text")
    bench.worker.receiver.step(0.0)
    holdings = bench.worker.context.holdings
    beats = 0
    while holdings.extendable():
        bench.worker.heartbeat.beat()
        bench.clock.now += 20
        beats += 1

    assert 43_000 / 20 < beats < 43_200 / 20


def test_a_result_is_not_kept_for_ever() -> None:
    bench = Bench(settings=some_settings(EMBED_VISIBILITY_S=1800))
    bench.submit("some text")
    bench.store_queue.is_available = False
    bench.worker.drain()
    bench.clock.now += 901

    bench.worker.sender.step()

    assert bench.held == 0
    assert bench.queue.depth == 1


def test_pauses_grow_are_never_near_zero_and_start_again() -> None:
    bench = Bench()
    outage = Outage("receive", bench.worker.context.logger, uniform=lambda low, _: low)

    pauses = [outage.failed(StoreUnavailableError()) for _ in range(10)]
    outage.answered()

    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == 15.0
    assert outage.failed(StoreUnavailableError()) == 0.25
