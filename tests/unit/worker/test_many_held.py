"""What a worker does with as many messages as it may hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any

from embedpipe.adapters.memory import MemoryQueue
from embedpipe.errors import (
    ModelUnavailableError,
    QueueUnavailableError,
    StoreUnavailableError,
)
from embedpipe.ports import Outgoing, Received
from embedpipe.worker import Worker
from embedpipe.worker.held import Held, Outcome

from tests.unit.worker.bench import Bench, Clock, some_settings


class Calls(MemoryQueue):
    """A queue whose calls to extend, of ten messages each, a test looks into."""

    def __init__(self, clock: Clock, before: Callable[[list[int]], object]) -> None:
        super().__init__("embed", visibility_s=60, clock=clock)
        self.before = before
        self.extended: list[int] = []
        self.handles: list[str] = []

    def extend(self, received: Sequence[Received], visibility_s: int) -> list[Received]:
        lost: list[Received] = []
        for begin in range(0, len(received), 10):
            self.extended.append(visibility_s)
            self.before(self.extended)
            self.handles += [one.receipt_handle for one in received[begin : begin + 10]]
            lost += super().extend(received[begin : begin + 10], visibility_s)
        return lost


def a_bench(before: Callable[[list[int]], object] = len, **settings: Any) -> tuple[Bench, Calls]:
    bench = Bench(settings=some_settings(**settings))
    queue = Calls(bench.clock, before)
    bench.overrides["inboxes"] = {"normal": queue}
    bench.worker = bench.another_worker()
    return bench, queue


def hold(bench: Bench, queue: MemoryQueue, count: int) -> list[Held]:
    """Hold small messages, of which nothing is to be computed."""
    for _ in range(count // 10):
        queue.send([Outgoing(str(n), "{}", group_id="acme") for n in range(10)])
        bench.worker.context.holdings.take(queue.receive(wait_s=0), bench.clock())
    return bench.worker.context.holdings.all()


def lost(bench: Bench) -> int:
    holdings = bench.worker.context.holdings
    return sum(not holdings.live(held) for held in holdings.all())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def decide(worker: Worker, several: Sequence[Held], outcome: Outcome) -> None:
    for held in several:
        held.outcome = outcome
        held.error = ModelUnavailableError() if outcome is Outcome.FAIL else None
        worker.sender.put(held)


def test_their_number_is_bounded_however_small_they_are_and_large_the_buffer() -> None:
    bench, queue = a_bench(EMBED_BUFFER_TOKENS=2_097_152)

    while bench.worker.context.holdings.wait_for_room(0):
        hold(bench, queue, 10)

    assert 2000 < bench.held < 2060


def test_beats_of_slow_calls_lose_no_lease() -> None:
    seen: list[int] = []
    bench, queue = a_bench()

    def slow(calls: list[int]) -> None:
        bench.clock.now += 0.05
        if not len(calls) % 50:
            seen.append(lost(bench))

    queue.before = slow
    while bench.worker.context.holdings.wait_for_room(0):
        hold(bench, queue, 10)
    for _ in range(4):
        began = bench.clock()
        bench.worker.heartbeat.beat()
        bench.clock.now = max(bench.clock(), began + 20)

    assert set(seen) == {0}


def test_what_was_extended_before_a_call_failed_stays_ours_and_the_rest_comes_first() -> None:
    bench, queue = a_bench()
    hold(bench, queue, 100)

    def fails_after_five(calls: list[int]) -> None:
        if len(calls) % 6 == 0:
            raise QueueUnavailableError

    queue.before = fails_after_five
    bench.clock.now += 55
    again_s = bench.worker.heartbeat.beat()
    bench.worker.heartbeat.beat()
    bench.clock.now += 10

    assert again_s > 0
    assert lost(bench) == 0


def test_what_is_settled_during_a_beat_keeps_the_time_it_was_given() -> None:
    bench, queue = a_bench()
    held = hold(bench, queue, 30)

    def settles(calls: list[int]) -> None:
        if len(calls) == 1:
            queue.retry(held[-1].received, 3600)
            bench.worker.context.holdings.forget(held[-1])

    queue.before = settles
    bench.worker.heartbeat.beat()

    assert len(queue.handles) == 29
    assert held[-1].received.receipt_handle not in queue.handles


def test_a_result_is_sent_between_the_calls_that_hand_back_a_thousand() -> None:
    sent: list[int] = []
    bench, queue = a_bench()
    message = bench.jobs.a_message(["some text"])
    queue.send([Outgoing("0", message.encode(), group_id="acme")])
    bench.worker.receiver.step(0.0)
    many = [held for held in hold(bench, queue, 1000) if held.message is None]
    decide(bench.worker, many, Outcome.RELEASE)
    queue.before = lambda calls: bench.worker.engine.step() if len(calls) == 1 else None

    while bench.worker.sender.step():
        sent.append(len(bench.answers()))

    assert bench.held == 0
    assert sent.index(1) == 1
    assert len(sent) == 10


class Away:
    """Jobs in a database that is out of reach."""

    def __init__(self, jobs: Any) -> None:
        self._jobs = jobs
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    def check(self) -> None:
        self.asked += 1
        raise StoreUnavailableError


def test_a_database_that_is_away_is_asked_once_and_not_for_each_failure() -> None:
    bench = Bench()
    jobs = Away(bench.jobs.database.jobs)
    bench.overrides["jobs"] = jobs
    worker = bench.another_worker()
    for n in range(10):
        bench.submit(f"text {n}")
    worker.receiver.step(0.0)
    decide(worker, worker.context.holdings.all(), Outcome.FAIL)

    worker.sender.step()

    assert jobs.asked == 1
    assert len(worker.context.holdings) == 10


class Unretried(MemoryQueue):
    """A queue that hands nothing back."""

    asked = 0

    def retry(self, received: Received, delay_s: float) -> None:
        del received, delay_s
        self.asked += 1
        raise QueueUnavailableError


def test_failures_of_a_lane_that_is_away_keep_neither_others_nor_results() -> None:
    bench = Bench()
    away = Unretried("embed", clock=bench.clock)
    bench.overrides["inboxes"] = {"high": away, "normal": bench.queue}
    worker = bench.another_worker()
    for lane, queue in (("high", away), ("normal", bench.queue)):
        for n in range(20):
            message = bench.jobs.a_message([f"{lane} {n}"])
            queue.send([Outgoing("0", message.encode(), group_id="acme")])
        for _ in range(2):
            worker.receivers[lane].step(0.0)
    failing = worker.context.holdings.all()
    decide(worker, failing, Outcome.FAIL)

    for _ in range(6):
        worker.sender.step()

    assert {held.lane for held in failing if held.outcome is Outcome.FAIL} == {"high"}
    assert away.asked == 6
    assert len(worker.context.holdings) == 20


def test_a_pause_after_a_failure_keeps_no_other_kind_of_call() -> None:
    bench = Bench()
    jobs = Away(bench.jobs.database.jobs)
    bench.overrides["jobs"] = jobs
    worker = bench.another_worker()
    bench.submit("fails")
    worker.receiver.step(0.0)
    decide(worker, worker.context.holdings.all(), Outcome.FAIL)
    for _ in range(20):
        worker.context.outages.settle.failed(StoreUnavailableError())
    sending = Thread(target=worker.sender.loop, daemon=True)
    sending.start()
    until(lambda: worker.context.outages.settle.is_on and jobs.asked)

    bench.submit("some text")
    worker.receiver.step(0.0)
    worker.engine.step()
    until(bench.answers)

    assert len(worker.context.holdings) == 1
    assert jobs.asked == 1
    worker.sender.close(time.monotonic())
    sending.join(10)


class Unacknowledged(MemoryQueue):
    """A queue that removes nothing."""

    def ack(self, received: Sequence[Received]) -> None:
        del received
        raise QueueUnavailableError


def test_a_lane_that_acknowledges_nothing_makes_no_other_wait() -> None:
    bench = Bench()
    away = Unacknowledged("embed", clock=bench.clock)
    bench.overrides["inboxes"] = {"high": away, "normal": bench.queue}
    worker = bench.another_worker()
    for lane, queue in (("high", away), ("normal", bench.queue)):
        for n in range(300):
            message = bench.jobs.a_message([f"{lane} {n}"])
            queue.send([Outgoing("0", message.encode(), group_id="acme")])
        for _ in range(30):
            worker.receivers[lane].step(0.0)
    worker.engine.step()
    sending = Thread(target=worker.sender.loop, daemon=True)
    sending.start()

    until(lambda: len(worker.context.holdings) == 300)

    assert {held.lane for held in worker.context.holdings.all()} == {"high"}
    assert len(bench.answers()) == 600
    for held in worker.context.holdings.all():
        held.outcome = Outcome.SETTLED
    worker.sender.close(time.monotonic())
    sending.join(10)
    assert not sending.is_alive()
