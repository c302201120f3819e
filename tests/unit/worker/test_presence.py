from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from uuid import uuid4

from aws_lambda_powertools import Logger
from embedpipe.adapters.memory import MemoryDatabase
from embedpipe.adapters.memory.heartbeats import MemoryHeartbeats
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import Heartbeats, Received
from embedpipe.worker.holdings import Holdings
from embedpipe.worker.outage import Outage
from embedpipe.worker.presence import Presence


class Failing(MemoryHeartbeats):
    """Heartbeats whose database may be away."""

    def __init__(self) -> None:
        super().__init__(MemoryDatabase()._state)
        self.error: Exception | None = None
        self.calls = 0

    def beat(
        self, worker_id: str, stage: str, state: str, in_flight: int, interval_s: float
    ) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        super().beat(worker_id, stage, state, in_flight, interval_s)

    def leave(self, worker_id: str) -> None:
        if self.error is not None:
            raise self.error
        super().leave(worker_id)


class Bench:
    def __init__(self, heartbeats: Heartbeats | None, *, interval_s: float = 0.01) -> None:
        self.state = "running"
        self.log = io.StringIO()
        logger = Logger(service=f"test-{uuid4().hex}", stream=self.log)
        self.outage = Outage("heartbeat", logger)
        self.holdings = Holdings(limit_tokens=1000, visibility_s=30, clock=time.monotonic)
        self.presence = Presence(
            heartbeats, self.holdings, self.outage, lambda: self.state, interval_s=interval_s
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [Thread(target=loop) for loop in self.presence.loops().values()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.presence.close()
            for thread in threads:
                thread.join(5)
                assert not thread.is_alive()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def test_it_says_what_the_worker_does_and_how_much_it_holds() -> None:
    beats = Failing()
    bench = Bench(beats)
    bench.holdings.take([Received(str(n), "handle", "{}") for n in range(3)], time.monotonic())
    with bench.running():
        until(beats.all)
        [worker] = beats.all()

    assert (worker.stage, worker.state, worker.in_flight) == ("embed", "running", 3)
    assert worker.interval_s == 0.01
    assert worker.worker_id == bench.presence.worker_id


def test_it_leaves_when_it_is_closed() -> None:
    beats = Failing()
    with Bench(beats).running():
        until(beats.all)

    assert beats.all() == []


def test_a_change_is_told_at_once() -> None:
    beats = Failing()
    bench = Bench(beats, interval_s=3600)
    with bench.running():
        until(beats.all)
        bench.state = "stopping"
        bench.presence.tell()

        until(lambda: beats.all()[0].state == "stopping")


def test_a_database_that_is_away_disturbs_nothing_and_is_logged_once() -> None:
    beats = Failing()
    bench = Bench(beats)
    with bench.running():
        until(beats.all)
        beats.error = StoreUnavailableError()
        calls = beats.calls
        until(lambda: beats.calls > calls + 5)
        was_on = bench.outage.is_on
        beats.error = None
        until(lambda: not bench.outage.is_on)

    assert was_on
    assert bench.log.getvalue().count("calls fail") == 1
    assert beats.all() == []


def test_it_ends_though_the_database_is_away() -> None:
    beats = Failing()
    beats.error = StoreUnavailableError()

    with Bench(beats).running():
        until(lambda: beats.calls)


def test_without_anybody_who_listens_there_is_no_thread() -> None:
    assert Bench(None).presence.loops() == {}


def test_two_workers_of_one_machine_have_ids_of_their_own() -> None:
    ids = {Bench(None).presence.worker_id for _ in range(2)}

    assert len(ids) == 2
    assert all(1 <= len(one) <= 128 for one in ids)
