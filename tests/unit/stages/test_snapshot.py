"""Looking at everything at once: nothing that is out of reach holds it up or passes for zero."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import CONTROLLED, STAGES, ControlAction, StageState
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import Depths, Outgoing
from embedpipe.ports.overview import Counts
from embedpipe.stages.snapshot import QUEUES, Reason, Sources, snapshot

from tests.builders import MODEL, a_stored_job, admit

OLGA = Actor("acme", "olga")


@pytest.fixture
def sources() -> Sources:
    database = MemoryDatabase()
    database.create_tenant("acme", MODEL)
    return Sources(
        database,
        {name: MemoryQueue(name) for name in QUEUES},
        {stage: MemoryQueue(stage) for stage in STAGES},
    )


class Slow:
    """A queue that answers when it is let."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def depths(self) -> Depths:
        self.may_answer.wait(30)
        return Depths()


@pytest.fixture
def slow() -> Iterator[Slow]:
    queue = Slow()
    yield queue
    queue.may_answer.set()


def fail(*_: object) -> None:
    raise StoreUnavailableError


def test_it_shows_queues_jobs_controls_and_workers(sources: Sources) -> None:
    database = sources.database
    a_stored_job(database, document_id="done")
    admit(database, document_id="open")
    database.heartbeats.beat("worker-1", "embed", "running", 0, 10)
    database.controls.set("embed", ControlAction.PAUSE, Act(OLGA, "stage.pause", "embed"))
    queue = sources.queues["embed_low"]
    assert isinstance(queue, MemoryQueue)
    queue.send([Outgoing("one", "{}", group_id="acme")])

    seen = snapshot(sources, now=lambda: 1234.5)

    assert seen.at == 1234.5
    assert sum(seen.work.statuses.values()) == 1
    assert seen.counts["store"] == Counts(1, 0)
    assert [worker.worker_id for worker in seen.workers] == ["worker-1"]
    assert {control.stage: control.state for control in seen.controls}["embed"] == "paused"
    assert {stage: seen.depth(stage) for stage in STAGES} == {"chunk": 0, "embed": 1, "store": 0}
    assert seen.reasons == []


def test_without_the_database_the_rest_is_shown(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.database.controls, "all", fail)

    seen = snapshot(sources)

    assert seen.reasons == [Reason("database", "STORE_UNAVAILABLE")]
    assert not seen.knows("database")
    assert set(seen.work.statuses.values()) == {0}
    assert [control.stage for control in seen.controls] == list(CONTROLLED)
    assert {control.state for control in seen.controls} == {StageState.RUNNING}
    assert seen.depth("chunk") == 0


def test_a_bug_of_one_source_does_not_hide_the_others(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.queues["chunk"], "depths", lambda: 1 // 0)

    seen = snapshot(sources)

    assert seen.reasons == [Reason("queue chunk", "INTERNAL")]
    assert (seen.depth("chunk"), seen.depth("store")) == (None, 0)


def test_a_queue_that_does_not_answer_is_unknown_and_not_empty(sources: Sources) -> None:
    lane, dlq = sources.queues["embed_high"], sources.dlqs["store"]
    assert isinstance(lane, MemoryQueue)
    assert isinstance(dlq, MemoryQueue)
    lane.is_available = dlq.is_available = False

    seen = snapshot(sources)

    assert seen.reasons == [
        Reason("queue embed_high", "QUEUE_UNAVAILABLE"),
        Reason("dlq store", "QUEUE_UNAVAILABLE"),
    ]
    assert (seen.depth("embed"), seen.dlqs["store"]) == (None, None)


def test_one_that_is_late_is_not_waited_for(sources: Sources, slow: Slow) -> None:
    started = time.monotonic()

    seen = snapshot(
        Sources(sources.database, {**sources.queues, "chunk": slow}, sources.dlqs), timeout_s=0.2
    )

    assert time.monotonic() - started < 10
    assert seen.reasons == [Reason("queue chunk", "TIMEOUT")]
    assert seen.depth("store") == 0


def test_a_lane_without_a_queue_of_its_own_is_not_asked_twice(sources: Sources) -> None:
    queues = {name: sources.queues[name] for name in ("chunk", "embed", "store")}

    seen = snapshot(Sources(sources.database, queues, sources.dlqs))

    assert (set(seen.queues), seen.depth("embed")) == ({"chunk", "embed", "store"}, 0)


def test_what_drains_is_drained_when_nothing_is_left_before_it(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedpipe.domain.controls.SETTLED_S", -1.0)
    drain = Act(OLGA, "stage.drain", "embed")
    sources.database.controls.set("embed", ControlAction.DRAIN, drain)

    empty = snapshot(sources).drained
    queue = sources.queues["chunk"]
    assert isinstance(queue, MemoryQueue)
    queue.send([Outgoing("one", "{}", group_id="acme")])
    full = snapshot(sources).drained
    queue.is_available = False
    unknown = snapshot(sources).drained

    assert [set(one) for one in (empty, full, unknown)] == [{"embed"}, set(), set()]
