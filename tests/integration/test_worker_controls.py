"""The worker with all its threads while its stage is paused, and its heartbeats."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Lock
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeEmbedder, MemoryQueue
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.jobs import JobStatus
from embedpipe.domain.lanes import LANES
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import Received
from embedpipe.stages.controls import ControlReader
from embedpipe.worker import gate as gate_module

from tests.integration.test_worker_lifecycle import Gated, running, until
from tests.unit.worker.bench import Bench, Jobs, some_settings


class Counting(MemoryQueue):
    """A queue that knows when receives began, and how often each message was received."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.begun: list[float] = []
        self._counting = Lock()

    def receive(self, *, max_messages: int = 10, wait_s: float = 10.0) -> list[Received]:
        with self._counting:
            self.begun.append(time.monotonic())
        return super().receive(max_messages=max_messages, wait_s=wait_s)

    def begun_after(self, moment: float) -> int:
        with self._counting:
            return sum(begun > moment for begun in self.begun)

    @property
    def receive_counts(self) -> set[int]:
        return {message.receive_count for message in self.peek()}


class Paused:
    """A worker whose three lanes, controls and heartbeats are in memory."""

    def __init__(self, embedder: FakeEmbedder | None = None, **settings: Any) -> None:
        jobs = Jobs()
        self.database = jobs.database
        dlq = MemoryQueue("embed-dlq")
        self.lanes = {lane: Counting("embed", visibility_s=60, dlq=dlq) for lane in LANES}
        self.bench = Bench.with_pauses(
            settings=some_settings(EMBED_HEARTBEAT_S=1, **settings),
            embedder=embedder or FakeEmbedder(),
            jobs=jobs,
            overrides={
                "inboxes": self.lanes,
                "controls": ControlReader(self.database.controls),
                "heartbeats": self.database.heartbeats,
            },
        )
        self.bench.queue = self.lanes["normal"]

    def act(self, action: ControlAction) -> None:
        act = Act(Actor("acme", "key"), f"stage.{action}", "embed")
        self.database.controls.set("embed", action, act)

    @property
    def state(self) -> object:
        _, details = self.bench.worker.status()
        return details["status"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gate_module, "KEPT_S", 0.05)
    yield


def test_one_that_starts_paused_receives_nothing_from_any_lane() -> None:
    paused = Paused()
    paused.act(ControlAction.PAUSE)
    paused.bench.submit("some text")
    with running(paused.bench):
        until(paused.database.heartbeats.all)
        time.sleep(0.5)
        state, healthy = paused.state, paused.bench.worker.status()[0]
        [worker] = paused.database.heartbeats.all()

    assert [queue.begun for queue in paused.lanes.values()] == [[], [], []]
    assert paused.lanes["normal"].receive_counts == {0}
    assert (state, healthy) == ("paused", True)
    assert worker.state == "paused"


def test_it_goes_on_by_itself_when_the_stage_is_resumed() -> None:
    paused = Paused()
    paused.act(ControlAction.PAUSE)
    message = paused.bench.submit("some text")
    with running(paused.bench):
        until(lambda: paused.state == "paused")
        paused.act(ControlAction.RESUME)
        until(lambda: not paused.bench.queue.peek())

        assert paused.state == "running"
    paused.bench.store_all()
    assert paused.bench.jobs.status(message) is JobStatus.SUCCEEDED


def test_what_is_held_is_finished_and_extended_while_paused_and_nothing_comes_after_it() -> None:
    model = Gated()
    paused = Paused(embedder=model, EMBED_VISIBILITY_S=3, EMBED_WAIT_S=0.05)
    held = paused.bench.submit("held")
    with running(paused.bench):
        assert model.started.wait(5)
        paused.act(ControlAction.PAUSE)
        until(lambda: paused.state == "paused")
        # The polls that were on their way are over.
        time.sleep(0.2)
        paused_at = time.monotonic()
        waiting = [paused.bench.submit(f"waiting {number}") for number in range(5)]
        # Longer than the lease would last without being extended.
        time.sleep(4.0)
        in_flight, depth = paused.bench.queue.in_flight, paused.bench.queue.depth
        model.go_on.set()
        until(lambda: len(paused.bench.queue.peek()) == len(waiting))
        begun = [queue.begun_after(paused_at) for queue in paused.lanes.values()]
        counts = paused.lanes["normal"].receive_counts
        [answer] = paused.bench.answers()

    assert (in_flight, depth) == (1, 5)
    assert answer.batch == held.batch
    assert begun == [0, 0, 0]
    assert counts == {0}


def test_a_database_that_is_away_pauses_nothing_and_the_beats_go_on_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused = Paused()
    with running(paused.bench):
        until(paused.database.heartbeats.all)

        def away(*_: object) -> None:
            raise StoreUnavailableError

        with monkeypatch.context() as patch:
            patch.setattr(paused.database.controls, "states", away)
            patch.setattr(paused.database.heartbeats, "beat", away)
            until(
                lambda: {"controls", "heartbeat"} <= set(paused.bench.worker.context.outages.on())
            )
            message = paused.bench.submit("some text")
            until(lambda: not paused.bench.queue.peek())
        until(lambda: not paused.bench.worker.context.outages.on())
    paused.bench.store_all()

    assert paused.bench.jobs.status(message) is JobStatus.SUCCEEDED


def test_a_stop_is_told_and_one_that_has_stopped_is_not_listed() -> None:
    model = Gated()
    paused = Paused(embedder=model)
    paused.bench.submit("held")
    with running(paused.bench) as run:
        assert model.started.wait(5)
        run.stop()
        until(lambda: [one.state for one in paused.database.heartbeats.all()] == ["stopping"])
        stopped_at = time.monotonic()
        model.go_on.set()
        run.wait()

    assert paused.database.heartbeats.all() == []
    # Polls that had begun are over in 50 ms; a second later nobody begins another one.
    assert [queue.begun_after(stopped_at + 0.2) for queue in paused.lanes.values()] == [0, 0, 0]


def test_a_paused_worker_stops_as_any_other() -> None:
    paused = Paused()
    paused.act(ControlAction.PAUSE)
    with running(paused.bench) as run:
        until(lambda: paused.state == "paused")
        run.stop()

        took_s = run.wait()

    assert run.status == 0
    assert took_s < 3
