from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeEmbedders, FakeModels, FakeTokenizer
from embedpipe.adapters.memory.models import fake_model
from embedpipe.errors import (
    EmbedderUnavailableError,
    ModelUnavailableError,
    PoisonChunkError,
)
from embedpipe.messages import EmbedRequested
from embedpipe.ports.models import LoadedModel
from embedpipe.worker.cache import VectorCache
from embedpipe.worker.held import Outcome

from tests.unit.worker.bench import MODEL, Bench, some_settings, token, vectors_of

OTHER = fake_model("other")


class Gated(FakeEmbedder):
    """After its warm-up, a model that waits for a test before each pass."""

    def __init__(self, model: Any = None) -> None:
        super().__init__(model)
        self.started = Event()
        self.go_on = Event()

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        vectors = super().embed(token_ids)
        if len(self.calls) > 1:
            self.started.set()
            assert self.go_on.wait(20)
        return vectors


class Streams(AbstractContextManager["Streams"]):
    """An engine's planner and streams, at work."""

    def __init__(self, bench: Bench, count: int = 1) -> None:
        self.bench, self.engine, self.errors = bench, bench.worker.engine, list[Exception]()
        loops = [lambda: self.engine.plan_loop(count), *[self.engine.run_loop] * count]
        self.threads = [Thread(target=self._run, args=(loop,)) for loop in loops]

    def __enter__(self) -> Streams:
        for thread in self.threads:
            thread.start()
        until(lambda: self.engine._streams == len(self.threads) - 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.bench.worker.context.buffer.close()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()

    def _run(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except Exception as error:  # noqa: BLE001
            self.errors.append(error)


class Asking(Thread):
    """A caller of `compute`."""

    def __init__(self, bench: Bench, inputs: Sequence[Sequence[int]], **options: Any) -> None:
        super().__init__()
        self.bench, self.inputs = bench, inputs
        self.options: dict[str, Any] = {"model_id": MODEL.model_id, "timeout_s": 20.0} | options
        self.results: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.results = self.bench.worker.engine.compute(inputs=self.inputs, **self.options)
        except Exception as error:  # noqa: BLE001
            self.results = error

    def answer(self) -> Any:
        self.join(20)
        assert not self.is_alive()
        return self.results


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def waiting(bench: Bench) -> int:
    return len(bench.worker.engine._desk._requests)


def two_models(*, other: FakeEmbedder | None = None, **fields: Any) -> tuple[Bench, FakeEmbedders]:
    embedder = fields.pop("embedder", None) or FakeEmbedder()
    port = FakeEmbedders(embedder, other or FakeEmbedder(OTHER))
    overrides = {"embedders": port, "models": FakeModels(MODEL, OTHER)} | fields.pop(
        "overrides", {}
    )
    return Bench(embedder=embedder, overrides=overrides, **fields), port


def of_other(bench: Bench, *texts: str, tenant: str = "acme") -> EmbedRequested:
    message = bench.jobs.a_message(texts, tenant=tenant).model_copy(
        update={"model_id": OTHER.model_id, "fingerprint": OTHER.fingerprint}
    )
    bench.send(message)
    return message


def ids(text: str) -> list[int]:
    return FakeTokenizer().encode([text])[0]


def test_two_models_are_served_from_one_queue_each_by_itself() -> None:
    other = FakeEmbedder(OTHER)
    bench, _ = two_models(other=other)
    for n in range(5):
        bench.submit(f"text {n}")
        of_other(bench, f"more {n}")

    bench.worker.drain()

    assert bench.counts["done"] == 10
    assert {answer.model_id for answer in bench.answers()} == {MODEL.model_id, OTHER.model_id}
    assert [len(call) for call in bench.embedder.calls] == [1, 5]
    assert [len(call) for call in other.calls] == [1, 5]


def test_a_model_that_cannot_be_loaded_keeps_only_its_own_messages_waiting() -> None:
    bench, port = two_models()
    port.broken.add(OTHER.model_id)
    late = of_other(bench, "some text")
    for n in range(3):
        bench.submit(f"text {n}")

    bench.worker.drain()

    assert bench.counts["done"] == 3
    assert [one.message_id for one in bench.queue.peek()] and not bench.dlq.peek()
    assert bench.jobs.error_code(late) is None
    assert '"MODEL_UNAVAILABLE"' in bench.log.getvalue()


def test_a_model_that_comes_back_is_computed_then() -> None:
    bench, port = two_models()
    port.broken.add(OTHER.model_id)
    of_other(bench, "some text")
    bench.worker.drain()

    port.broken.clear()
    bench.clock.now += 3600
    bench.worker.drain()

    assert len(bench.answers()) == 1
    assert not bench.queue.peek()


def test_a_model_that_breaks_while_others_work_fails_no_job() -> None:
    other = FakeEmbedder(OTHER)
    bench, _ = two_models(other=other)
    bench.worker.devices.get(MODEL.model_id)
    bench.worker.devices.get(OTHER.model_id)
    other.poison_ids = set(range(40_000))
    broken = of_other(bench, "some text", "another")
    bench.submit("text")

    bench.worker.drain()

    assert bench.counts["done"] == 1
    assert bench.jobs.error_code(broken) is None
    assert len(bench.queue.peek()) == 1


def test_loading_keeps_neither_receivers_nor_other_models_waiting() -> None:
    class Slow(FakeEmbedders):
        is_loading, go_on = Event(), Event()

        def get(self, model_id: str) -> Any:
            if model_id == OTHER.model_id:
                self.is_loading.set()
                assert self.go_on.wait(20)
            return super().get(model_id)

        def loaded(self) -> list[LoadedModel]:
            at_hand = {MODEL.model_id} | ({OTHER.model_id} if self.go_on.is_set() else set())
            return [one for one in super().loaded() if one.model_id in at_hand]

    embedder = FakeEmbedder()
    port = Slow(embedder, FakeEmbedder(OTHER))
    bench, _ = two_models(embedder=embedder, overrides={"embedders": port})
    loader = Thread(target=bench.worker.arrivals.loop)
    loader.start()
    of_other(bench, "some text")
    bench.worker.receiver.step(0.0)
    assert port.is_loading.wait(20)

    bench.submit("text")
    bench.worker.receiver.step(0.0)
    bench.worker.engine.step()
    done_meanwhile = len(embedder.calls) - 1
    port.go_on.set()
    until(lambda: len(bench.worker.context.buffer) == 1)
    bench.worker.drain()

    bench.worker.arrivals.close()
    loader.join(20)
    assert done_meanwhile == 1
    assert bench.counts["done"] == 2


def test_what_waits_for_a_model_is_handed_back_at_the_end() -> None:
    bench, port = two_models()
    port.broken.add(OTHER.model_id)
    of_other(bench, "some text")
    bench.worker.receiver.step(0.0)

    left = bench.worker.arrivals.close()

    assert [held.message.model_id for held in left if held.message] == [OTHER.model_id]


def test_exactly_the_poison_among_messages_of_all_tenants_and_models_fails() -> None:
    bad = [token("poison")]
    bench, _ = two_models(
        embedder=FakeEmbedder(poison_ids=bad), other=FakeEmbedder(OTHER, poison_ids=bad)
    )
    good = [
        bench.submit(f"text {n}", f"more {n}", tenant=t)
        for n in range(8)
        for t in ("acme", "globex")
    ]
    poison = [bench.submit(f"text {n}", "poison", f"more {n}") for n in range(3)]
    poison += [of_other(bench, "fine", "poison")]
    good += [of_other(bench, f"text {n}") for n in range(8)]

    bench.worker.drain()

    assert {answer.job_id for answer in bench.answers()} == {one.job_id for one in good}
    assert {bench.jobs.error_code(message) for message in poison} == {"POISON_CHUNK"}
    assert len(bench.dlq.peek()) == len(poison)
    assert bench.log.getvalue().count("message rejected") == len(poison)


def test_a_message_may_fail_before_the_rest_of_it_is_planned() -> None:
    settings = some_settings(EMBED_MAX_BATCH_TOKENS=16)
    bench = Bench(embedder=FakeEmbedder(poison_ids=[token("poison")]), settings=settings)
    poison = bench.submit("poison", *[f"text {number}" for number in range(400)])
    good = bench.submit("fine")

    bench.worker.drain()

    assert bench.jobs.error_code(poison) == "POISON_CHUNK"
    assert [answer.job_id for answer in bench.answers()] == [good.job_id]
    assert bench.held == 0


def test_a_wrong_vector_fails_only_its_message_and_is_never_sent() -> None:
    class Long(FakeEmbedder):
        def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
            vectors = super().embed(token_ids)
            vectors[[token("long") in one for one in token_ids]] *= 2
            return vectors

    bench = Bench(embedder=Long())
    good = [bench.submit(f"text {n}") for n in range(6)]
    bad = bench.submit("fine", "long")

    bench.worker.drain()

    assert {answer.job_id for answer in bench.answers()} == {one.job_id for one in good}
    assert bench.jobs.error_code(bad) == "BAD_VECTOR"


def test_streams_compute_at_the_same_time_and_every_message_comes_out_once() -> None:
    bench = Bench(settings=some_settings(EMBED_MAX_BATCH_TOKENS=64))
    sent = {}
    for n in range(60):
        texts = [f"text {n} {m} " * (1 + (n + m) % 7) for m in range(5)]
        sent[bench.submit(*texts).job_id] = texts
    with Streams(bench, 3):
        while bench.worker.receiver.step(0.0):
            pass
        until(lambda: not bench.worker.engine.tokens_left)
    bench.worker.drain()

    answers = bench.answers()
    assert len(answers) == len({answer.job_id for answer in answers}) == 60
    for answer in answers:
        expected = FakeEmbedder().embed(FakeTokenizer().encode(sent[answer.job_id]))
        assert vectors_of(answer) == expected.tolist()


def test_those_who_ask_at_the_same_time_share_a_batch_before_what_is_queued() -> None:
    model = Gated()
    bench = Bench(embedder=model, settings=some_settings(EMBED_MAX_BATCH_TOKENS=64))
    bench.worker.devices.get(MODEL.model_id)
    for n in range(40):
        bench.submit(f"queued {n}")
    bench.worker.receiver.step(0.0)
    with Streams(bench):
        assert model.started.wait(20)
        callers = [Asking(bench, [ids(f"asked {n}")]) for n in range(5)]
        until(lambda: waiting(bench) == 5)
        before = len(model.calls)
        model.go_on.set()
        answers = [caller.answer() for caller in callers]

    assert sorted(model.calls[before]) == sorted(ids(f"asked {n}") for n in range(5))
    for n, [vector] in enumerate(answers):
        assert np.array_equal(vector, FakeEmbedder().embed([ids(f"asked {n}")])[0])


def test_a_small_request_does_not_wait_for_a_large_one_to_end() -> None:
    model = Gated()
    bench = Bench(embedder=model, settings=some_settings(EMBED_MAX_BATCH_TOKENS=64))
    bench.worker.devices.get(MODEL.model_id)
    with Streams(bench):
        large = Asking(bench, [[5] * 60] * 50)
        assert model.started.wait(20)
        small = Asking(bench, [[7, 7]])
        until(lambda: waiting(bench) == 2)
        model.go_on.set()
        assert not isinstance(small.answer(), Exception)
        assert len(large.answer()) == 50

    assert [[7, 7]] in model.calls[1:5]


def test_queued_work_goes_on_beside_requests_that_never_end() -> None:
    model = Gated()
    bench = Bench(embedder=model, settings=some_settings(EMBED_MAX_BATCH_TOKENS=16))
    bench.worker.devices.get(MODEL.model_id)
    with Streams(bench):
        caller = Asking(bench, [[5] * 9] * 30)
        assert model.started.wait(20)
        bench.submit("queued words")
        bench.worker.receiver.step(0.0)
        until(lambda: bench.worker.engine._desk._ready)
        model.go_on.set()
        caller.answer()

    assert 2 < model.calls.index([ids("queued words")]) < 15


def test_a_poison_input_fails_only_itself_whoever_shares_its_batch() -> None:
    bench = Bench(embedder=FakeEmbedder(poison_ids=[66]))

    results = bench.worker.engine.compute(MODEL.model_id, [[1, 5, 2], [1, 66, 2], [1, 7, 2]], 5.0)

    assert [isinstance(one, PoisonChunkError) for one in results] == [False, True, False]
    assert bench.counts["sync_passes"] == bench.counts["passes"] > 1


def test_a_caller_that_gave_up_costs_nothing_more() -> None:
    model = Gated()
    bench = Bench(embedder=model, settings=some_settings(EMBED_MAX_BATCH_TOKENS=64))
    bench.worker.devices.get(MODEL.model_id)
    bench.submit("queued")
    bench.worker.receiver.step(0.0)
    with Streams(bench):
        assert model.started.wait(20)
        caller = Asking(bench, [ids("asked")], timeout_s=0.05)
        error = caller.answer()
        model.go_on.set()

    assert isinstance(error, EmbedderUnavailableError)
    assert ids("asked") not in [one for call in model.calls for one in call]


def test_nothing_is_asked_for_nothing() -> None:
    bench = Bench()

    assert bench.worker.engine.compute(MODEL.model_id, [], 1.0) == []
    assert bench.counts["passes"] == 0


def test_a_request_for_a_model_that_is_not_at_hand_is_refused() -> None:
    with pytest.raises(ModelUnavailableError):
        Bench().worker.engine.compute("unknown", [[1, 2]], 1.0)


def test_requests_are_refused_when_the_worker_stops_and_those_that_wait_are_told() -> None:
    model = Gated()
    bench = Bench(embedder=model)
    bench.worker.devices.get(MODEL.model_id)
    with Streams(bench):
        first = Asking(bench, [ids("first")])
        assert model.started.wait(20)
        second = Asking(bench, [ids("second")])
        until(lambda: waiting(bench) == 1)
        bench.worker.engine.abandon()
        model.go_on.set()
        answers = first.answer(), second.answer()

    assert len(answers[0]) == 1
    assert isinstance(answers[1], EmbedderUnavailableError)
    with pytest.raises(EmbedderUnavailableError):
        bench.worker.engine.compute(MODEL.model_id, [[1, 2]], 1.0)


def test_a_device_that_breaks_under_a_request_ends_the_stream_and_tells_the_caller() -> None:
    model = FakeEmbedder()
    bench = Bench(embedder=model)
    bench.worker.devices.get(MODEL.model_id)
    model.poison_ids = set(range(40_000))
    streams = Streams(bench)
    with streams:
        caller = Asking(bench, [ids("asked")])
        error = caller.answer()

    assert isinstance(error, EmbedderUnavailableError)
    assert [type(one) for one in streams.errors] == [EmbedderUnavailableError]


def test_what_is_not_finished_can_be_handed_back_and_is_not_finished_later() -> None:
    model = Gated()
    bench = Bench(embedder=model, settings=some_settings(EMBED_MAX_BATCH_TOKENS=16))
    bench.submit("some words", "some other words")
    bench.worker.receiver.step(0.0)
    bench.worker.devices.get(MODEL.model_id)
    with Streams(bench):
        assert model.started.wait(20)
        bench.worker.engine.abandon()
        [left] = bench.worker.engine.unfinished()
        model.go_on.set()

    assert left.outcome is Outcome.OPEN
    assert bench.worker.engine.unfinished() == []


def test_known_vectors_are_not_computed_again_and_only_their_tenant_has_them() -> None:
    bench = Bench(overrides={"cache": VectorCache(1_000_000)})
    bench.submit("one text", "two texts")
    bench.worker.drain()
    chunks = bench.counts["chunks"]

    bench.submit("two texts", "three texts", "one text")
    bench.submit("one text")
    bench.submit("one text", tenant="globex")
    bench.worker.drain()

    assert chunks == 2
    assert bench.counts["chunks"] == 4
    assert (bench.counts["cache_hits"], bench.counts["cache_misses"]) == (3, 4)
    texts = ["two texts", "three texts", "one text"]
    expected = FakeEmbedder().embed(FakeTokenizer().encode(texts)).tolist()
    assert expected in [vectors_of(answer) for answer in bench.answers()]
    assert bench.counts["done"] == 4


def test_a_failed_chunk_is_not_remembered() -> None:
    cache = VectorCache(1_000_000)
    bench = Bench(embedder=FakeEmbedder(poison_ids=[token("poison")]), overrides={"cache": cache})
    bench.submit("fine", "poison")

    bench.worker.drain()

    assert cache.counts().entries == 1
