"""The worker with all its threads, on memory adapters and a loopback port."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
from embedpipe.adapters.embed_endpoint import HttpEmbedder
from embedpipe.adapters.memory import (
    FakeEmbedder,
    FakeEmbedders,
    FakeModels,
    FakeQueryEmbedder,
    MemoryQueue,
)
from embedpipe.adapters.memory.models import fake_model
from embedpipe.domain.jobs import JobStatus
from embedpipe.domain.lanes import LANES
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.messages import EmbedRequested, decode
from embedpipe.ports import Outgoing, Received
from embedpipe.ports.models import LoadedModel
from embedpipe.worker import Worker

from tests.unit.worker.bench import MODEL, Bench, some_settings, token

TOKEN = "a-token-of-some-length"


class Gated(FakeEmbedder):
    """After its warm-up, a model that waits for a test before each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.started = Event()
        self.go_on = Event()

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if self.calls:
            self.started.set()
            self.go_on.wait(30)
        return super().embed(token_ids)


class Dying(FakeEmbedder):
    """A device that computes its warm-up and then nothing more."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if self.calls:
            raise RuntimeError("an illegal memory access was encountered")
        return super().embed(token_ids)


class Running:
    """A worker that runs in a thread."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.status: int | None = None
        self.stopping_at = 0.0
        worker.prepare()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.worker.run()

    def stop(self) -> None:
        self.stopping_at = time.monotonic()
        self.worker.stop()

    def wait(self) -> float:
        """Wait for the end; give the seconds since `stop`."""
        self._thread.join(30)
        assert not self._thread.is_alive()
        return time.monotonic() - self.stopping_at


@contextmanager
def running(bench: Bench) -> Iterator[Running]:
    run = Running(bench.worker)
    try:
        yield run
    finally:
        run.stop()
        run.wait()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def a_bench(embedder: FakeEmbedder | None = None, **settings: Any) -> Bench:
    return Bench.with_pauses(
        settings=some_settings(**settings), embedder=embedder or FakeEmbedder()
    )


def test_messages_that_come_while_it_runs_are_embedded() -> None:
    bench = a_bench(embedder=FakeEmbedder(poison_ids=[token("poison")]))
    with running(bench) as run:
        good = [bench.submit(f"text {n}", f"more {n}") for n in range(100)]
        bad = bench.submit("poison")
        until(lambda: bench.counts["done"] == 100 and bench.counts["rejected"] == 1)
        run.stop()
        run.wait()
    bench.store_all()

    assert run.status == 0
    assert {bench.jobs.status(message) for message in good} == {JobStatus.SUCCEEDED}
    assert bench.jobs.error_code(bad) == "POISON_CHUNK"
    assert not bench.queue.peek()
    assert bench.held == 0


def test_a_stop_in_the_middle_finishes_what_is_planned_and_hands_back_the_rest() -> None:
    model = Gated()
    bench = a_bench(embedder=model, EMBED_BUFFER_TOKENS=512, EMBED_MAX_BATCH_TOKENS=64)
    for n in range(60):
        bench.submit(f"text {n}")
    with running(bench) as run:
        assert model.started.wait(10)
        run.stop()
        until(bench.worker.context.stop.is_set)
        model.go_on.set()
        took_s = run.wait()

    done = len(bench.answers())
    assert run.status == 0
    assert took_s < 10
    assert 0 < done < 60
    assert bench.queue.depth == len(bench.queue.peek()) == 60 - done
    assert not bench.worker.is_stuck


class Polled(MemoryQueue):
    """A queue that knows how many polls wait at it."""

    polls = 0

    def receive(self, *, max_messages: int = 10, wait_s: float = 10.0) -> list[Received]:
        self.polls += 1
        try:
            return super().receive(max_messages=max_messages, wait_s=wait_s)
        finally:
            self.polls -= 1


def a_bench_of_lanes(
    embedder: FakeEmbedder | None = None, **settings: Any
) -> tuple[Bench, dict[str, Polled]]:
    lanes = {lane: Polled(f"embed-{lane}") for lane in LANES}
    bench = Bench.with_pauses(
        settings=some_settings(**settings),
        embedder=embedder or FakeEmbedder(),
        overrides={"inboxes": lanes},
    )
    return bench, lanes


def submit_to(bench: Bench, queue: MemoryQueue, text: str) -> None:
    message = bench.jobs.a_message([text])
    queue.send([Outgoing("0", message.encode(), group_id=message.tenant_id)])


def test_a_stop_in_the_middle_of_three_lanes_hands_each_its_own_back() -> None:
    model = Gated()
    bench, lanes = a_bench_of_lanes(model, EMBED_BUFFER_TOKENS=512, EMBED_MAX_BATCH_TOKENS=64)
    for queue in lanes.values():
        for n in range(40):
            submit_to(bench, queue, f"text {n} of {queue.name}")
    with running(bench) as run:
        assert model.started.wait(10)
        run.stop()
        until(bench.worker.context.stop.is_set)
        model.go_on.set()
        took_s = run.wait()

    sent = {answer.job_id for answer in bench.answers()}
    left = {
        decode(EmbedRequested, body).job_id for queue in lanes.values() for body in queue.bodies()
    }
    assert run.status == 0
    assert took_s < 10
    assert len(sent) == len(bench.answers())
    assert (len(sent | left), sent & left) == (120, set())
    assert {lane: queue.in_flight for lane, queue in lanes.items()} == dict.fromkeys(lanes, 0)


def test_a_stop_waits_for_the_polls_of_every_lane_and_hands_back_what_they_bring() -> None:
    bench, lanes = a_bench_of_lanes(EMBED_WAIT_S=1)
    with running(bench) as run:
        until(lambda: all(queue.polls for queue in lanes.values()))
        run.stop()
        until(bench.worker.context.stop.is_set)
        for queue in lanes.values():
            submit_to(bench, queue, "late")
        took_s = run.wait()

    assert run.status == 0
    assert took_s < 5
    assert {lane: queue.depth for lane, queue in lanes.items()} == dict.fromkeys(lanes, 1)
    assert not bench.answers()
    assert bench.held == 0


def test_an_idle_worker_has_one_poll_at_a_time_for_each_lane() -> None:
    bench, lanes = a_bench_of_lanes(EMBED_WAIT_S=2)
    with running(bench):
        until(lambda: all(queue.polls for queue in lanes.values()))

        polls = {lane: queue.polls for lane, queue in lanes.items()}

    assert polls == dict.fromkeys(lanes, 1)


def test_one_lane_without_its_queue_keeps_no_other_from_its_work() -> None:
    bench, lanes = a_bench_of_lanes()
    lanes["high"].is_available = False
    with running(bench):
        until(lambda: "receive_high" in bench.worker.context.outages.on())
        for lane in ("normal", "low"):
            submit_to(bench, lanes[lane], f"text of {lane}")
        until(lambda: bench.counts["done"] == 2)
        is_still_out = bench.worker.context.outages.on()
        lanes["high"].is_available = True
        submit_to(bench, lanes["high"], "text of high")
        until(lambda: bench.counts["done"] == 3)

    assert is_still_out == ["receive_high"]
    assert bench.log.getvalue().count('"calls fail"') == 1


def test_nothing_is_received_after_a_stop() -> None:
    bench = a_bench(EMBED_WAIT_S=1)
    with running(bench) as run:
        run.stop()
        run.wait()
        bench.submit("late")

    assert bench.queue.peek()[0].receive_count == 0


def test_a_message_that_a_poll_brings_after_the_stop_is_handed_back() -> None:
    bench = a_bench(EMBED_WAIT_S=2)
    bench.worker.prepare()
    bench.worker.context.stop.set()
    bench.submit("late")

    bench.worker.receiver.step(0.0)
    bench.worker.sender.step()

    bench.worker.endpoint.close()
    assert bench.queue.depth == 1
    assert bench.held == 0


def test_a_model_that_hangs_does_not_delay_the_end() -> None:
    model = Gated()
    bench = a_bench(embedder=model, EMBED_STOP_TIMEOUT_S=1.5)
    bench.submit("some text")
    with running(bench) as run:
        assert model.started.wait(10)
        run.stop()
        took_s = run.wait()
        was_stuck = bench.worker.is_stuck
        model.go_on.set()

    assert took_s < 2.5
    assert was_stuck
    assert run.status == 0
    assert bench.queue.depth == 1


def test_a_model_that_is_being_loaded_does_not_delay_the_end() -> None:
    other = fake_model("other")
    is_loading, go_on = Event(), Event()

    class Loading(FakeEmbedders):
        def get(self, model_id: str) -> Any:
            if model_id == other.model_id:
                is_loading.set()
                go_on.wait(30)
            return super().get(model_id)

        def loaded(self) -> list[LoadedModel]:
            return [one for one in super().loaded() if one.model_id == MODEL.model_id]

    overrides = {"embedders": Loading(), "models": FakeModels(MODEL, other)}
    bench = Bench.with_pauses(overrides=overrides)
    message = bench.jobs.a_message(["some text"]).model_copy(
        update={"model_id": other.model_id, "fingerprint": other.fingerprint}
    )
    bench.send(message)
    with running(bench) as run:
        assert is_loading.wait(10)
        run.stop()
        took_s = run.wait()
        go_on.set()

    assert run.status == 0
    assert took_s < 5
    assert bench.queue.depth == 1
    assert bench.worker.is_stuck


def test_results_that_cannot_be_sent_before_the_end_are_handed_back() -> None:
    bench = a_bench(EMBED_STOP_TIMEOUT_S=2)
    bench.store_queue.is_available = False
    bench.submit("some text")
    with running(bench) as run:
        until(lambda: bench.counts["chunks"] == 1)
        run.stop()
        took_s = run.wait()

    assert took_s < 3
    assert bench.queue.depth == 1
    assert run.status == 0


def test_a_device_that_breaks_ends_the_worker_and_fails_no_job() -> None:
    bench = a_bench(embedder=Dying())
    messages = [bench.submit(f"text {n}") for n in range(5)]
    run = Running(bench.worker)

    run.wait()

    assert run.status == 1
    assert bench.queue.depth == 5
    assert [bench.jobs.error_code(message) for message in messages] == [None] * 5
    assert "worker thread died" in bench.log.getvalue()


def test_it_goes_on_by_itself_after_an_outage_of_its_queue() -> None:
    bench = a_bench()
    bench.queue.is_available = False
    with running(bench):
        until(lambda: bench.worker.context.outages.on() == ["receive"])
        bench.queue.is_available = True
        bench.submit("some text")
        until(lambda: bench.counts["done"] == 1)

    assert bench.log.getvalue().count('"calls fail"') == 1


def test_queries_are_embedded_through_the_endpoint_while_it_works() -> None:
    bench = a_bench(QUERY_EMBEDDER_TOKEN=TOKEN)
    with running(bench) as run:
        url = f"http://127.0.0.1:{bench.worker.endpoint.port}"
        embedder = HttpEmbedder(url, token=TOKEN, timeout_s=5)
        until(lambda: bench.worker.status()[0])

        vector = embedder.embed_query("some text", MODEL.fingerprint)

        embedder.check()
        assert vector == FakeQueryEmbedder().embed_query("some text", MODEL.fingerprint)
        with pytest.raises(EmbedderUnavailableError, match="409"):
            embedder.embed_query("some text", "f" * 64)
        with pytest.raises(EmbedderUnavailableError, match="401"):
            HttpEmbedder(url, token="wrong").embed_query("some text", MODEL.fingerprint)
        run.stop()
        run.wait()
        with pytest.raises(EmbedderUnavailableError) as raised:
            embedder.check()

    assert raised.value.retry_after_s == 30


def test_an_endpoint_that_answers_too_late_is_unavailable() -> None:
    model = Gated()
    bench = a_bench(embedder=model)
    with running(bench):
        url = f"http://127.0.0.1:{bench.worker.endpoint.port}"
        with pytest.raises(EmbedderUnavailableError):
            HttpEmbedder(url, timeout_s=0.2).embed_query("some text", MODEL.fingerprint)
        model.go_on.set()
