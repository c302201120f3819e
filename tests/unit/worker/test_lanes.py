from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeModels, MemoryQueue
from embedpipe.domain.jobs import JobStatus
from embedpipe.domain.lanes import LANES
from embedpipe.errors import ModelFilesError, ModelUnavailableError, QueueUnavailableError
from embedpipe.messages import EmbedRequested
from embedpipe.ports import ModelInfo, Outgoing, Received
from embedpipe.worker import Context
from embedpipe.worker import receiver as receiving
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.receiver import Receiver

from tests.unit.worker.bench import MODEL, Bench, some_settings, token

REMOTE = ModelInfo("theirs", "b" * 64, dimensions=3, max_tokens=8192, provider="openai")


def a_bench(**fields: Any) -> tuple[Bench, dict[str, MemoryQueue]]:
    """A bench whose worker receives from three lanes."""
    bench = Bench(**fields)
    lanes = {
        lane: MemoryQueue(
            f"embed-{lane}",
            visibility_s=bench.settings.visibility_s,
            clock=bench.clock,
            dlq=bench.dlq,
        )
        for lane in LANES
    }
    bench.overrides["inboxes"] = lanes
    bench.worker = bench.another_worker()
    return bench, lanes


def put(queue: MemoryQueue, *messages: EmbedRequested) -> None:
    for message in messages:
        queue.send([Outgoing("0", message.encode(), group_id=message.tenant_id)])


def receive_all(bench: Bench) -> None:
    for receiver in bench.worker.receivers.values():
        receiver.step(0.0)


def depths(lanes: dict[str, MemoryQueue]) -> dict[str, int]:
    return {lane: len(queue.peek()) for lane, queue in lanes.items()}


def test_messages_of_every_lane_are_computed_and_leave_their_own_queue() -> None:
    bench, lanes = a_bench()
    messages = [bench.jobs.a_message([f"text {n}"]) for n in range(30)]
    for n, message in enumerate(messages):
        put(lanes[list(LANES)[n % 3]], message)

    bench.worker.drain()
    bench.store_all()

    assert {bench.jobs.status(message) for message in messages} == {JobStatus.SUCCEEDED}
    assert depths(lanes) == {"high": 0, "normal": 0, "low": 0}
    assert bench.held == 0


def test_what_fails_is_settled_on_the_queue_that_it_came_from() -> None:
    poison = FakeEmbedder(poison_ids=[token("poison")])
    bench, lanes = a_bench(embedder=poison)
    bad = bench.jobs.a_message(["poison"])
    good = bench.jobs.a_message(["fine"])
    put(lanes["low"], bad)
    put(lanes["high"], good)

    bench.worker.drain()

    assert bench.jobs.error_code(bad) == "POISON_CHUNK"
    assert len(bench.dlq.peek()) == 1
    assert depths(lanes) == {"high": 0, "normal": 0, "low": 0}
    assert '"lane":"low"' in bench.log.getvalue()


@pytest.mark.parametrize("flooded", LANES)
def test_a_flood_in_one_lane_keeps_no_other_from_being_received(flooded: str) -> None:
    settings = some_settings(EMBED_BUFFER_TOKENS=2048)
    bench, lanes = a_bench(settings=settings)
    worker = bench.worker
    for n in range(300):
        put(lanes[flooded], bench.jobs.a_message([f"text {n} " * 8] * 4))
    while worker.context.holdings.wait_for_room(0, flooded):
        assert worker.receivers[flooded].step(0.0)
    others = [lane for lane in LANES if lane != flooded]
    for lane in others:
        put(lanes[lane], bench.jobs.a_message(["a late text"]))

    received = {
        lane: worker.receivers[lane].step(0.0)
        for lane in others
        if worker.context.holdings.wait_for_room(0, lane)
    }

    assert received == dict.fromkeys(others, 1)
    assert lanes[flooded].depth > 0


def test_a_beat_extends_every_lane_and_an_outage_of_one_loses_only_its_own() -> None:
    bench, lanes = a_bench(settings=some_settings(EMBED_VISIBILITY_S=30))
    for queue in lanes.values():
        put(queue, bench.jobs.a_message(["some text"]))
    receive_all(bench)
    lanes["high"].is_available = False

    pauses = []
    for _ in range(5):
        bench.clock.now += 10
        pauses.append(bench.worker.heartbeat.beat())

    holdings = bench.worker.context.holdings
    live = {held.lane for held in holdings.all() if holdings.live(held)}
    assert live == {"normal", "low"}
    # Until its leases are lost there is something to try again soon.
    assert [pause > 0 for pause in pauses] == [True, True, False, False, False]


def test_the_outage_of_one_lane_is_told_from_that_of_another() -> None:
    bench, lanes = a_bench()
    lanes["low"].is_available = False
    outages = bench.worker.context.outages

    outages.receive["low"].failed(QueueUnavailableError())
    bench.worker.receivers["high"].step(0.0)

    assert outages.on() == ["receive_low"]


def test_a_lane_that_cannot_be_acknowledged_does_not_keep_the_others() -> None:
    bench, lanes = a_bench()
    for queue in lanes.values():
        put(queue, bench.jobs.a_message(["some text"]))
    receive_all(bench)
    while bench.worker.engine.step():
        pass
    lanes["high"].is_available = False
    bench.worker.sender.step()
    meanwhile = (bench.held, depths(lanes))

    lanes["high"].is_available = True
    bench.worker.sender.step()

    assert meanwhile == (1, {"high": 1, "normal": 0, "low": 0})
    assert (bench.held, depths(lanes)) == (0, {"high": 0, "normal": 0, "low": 0})
    assert len(bench.answers()) == 3


def test_what_is_handed_back_goes_to_its_lane_in_few_calls() -> None:
    bench, lanes = a_bench()
    calls = []

    class Counting(MemoryQueue):
        def extend(self, received: Sequence[Received], visibility_s: int) -> list[Received]:
            calls.append((len(received), visibility_s))
            return super().extend(received, visibility_s)

    lanes["low"] = Counting("embed-low", clock=bench.clock)
    bench.worker = bench.another_worker()
    for n in range(20):
        put(lanes["low"], bench.jobs.a_message([f"text {n}"]))
        put(lanes["high"], bench.jobs.a_message([f"text {n}"]))
    receive_all(bench)
    receive_all(bench)

    for held in bench.worker.context.holdings.all():
        held.outcome = Outcome.RELEASE
        bench.worker.sender.put(held)
    bench.worker.sender.step()

    assert calls == [(20, 0)]
    assert {lane: queue.depth for lane, queue in lanes.items()} == {
        "high": 20,
        "normal": 0,
        "low": 20,
    }
    assert bench.held == 0


def test_a_batch_that_comes_by_two_lanes_costs_one_pass_and_leaves_both_queues() -> None:
    bench, lanes = a_bench()
    message = bench.jobs.a_message(["some text"])
    put(lanes["normal"], message)
    put(lanes["high"], message)

    bench.worker.drain()

    assert bench.counts["chunks"] == 1
    assert bench.counts["duplicates"] == 1
    assert depths(lanes) == {"high": 0, "normal": 0, "low": 0}
    assert len(bench.answers()) == 1


def test_a_batch_that_came_by_two_lanes_and_fails_leaves_both_queues() -> None:
    bench, lanes = a_bench(embedder=FakeEmbedder(poison_ids=[token("poison")]))
    message = bench.jobs.a_message(["poison"])
    put(lanes["low"], message)
    put(lanes["normal"], message)

    bench.worker.drain()

    assert depths(lanes) == {"high": 0, "normal": 0, "low": 0}
    assert len(bench.dlq.peek()) == 1


def test_a_message_of_a_model_that_is_not_here_waits_and_spends_no_attempt() -> None:
    bench, lanes = a_bench()
    strange = bench.jobs.a_message(["text"]).model_copy(update={"model_id": "strange"})
    put(lanes["normal"], strange, bench.jobs.a_message(["more"]))

    bench.worker.drain()

    jobs = bench.jobs.database.jobs
    assert bench.counts["retried"] == 1
    assert bench.counts["done"] == 1
    assert (jobs.get("acme", strange.job_id).attempts, bench.dlq.peek()) == (0, [])
    assert depths(lanes) == {"high": 0, "normal": 1, "low": 0}


class Desk:
    """A receiver, what it hands on, and what it decides."""

    def __init__(self, *, models: FakeModels | None = None, remote: bool = True) -> None:
        self.bench = Bench()
        self.here: list[Held] = []
        self.there: list[Held] = []
        self.decided: list[tuple[Outcome, Exception | None]] = []
        self.is_open = True
        self.unloadable: set[str] = set()
        ports = replace(self.bench.ports(), models=models or FakeModels(MODEL, REMOTE))
        self.context = Context.of(ports, clock=self.bench.clock)
        self.receiver = Receiver(
            self.context,
            self._decide,
            self._put_here,
            put_remote=self._put_there if remote else None,
        )

    def receive(self, *messages: EmbedRequested) -> list[str]:
        """Receive some messages; name the errors of those that failed."""
        self.bench.send(*messages)
        self.receiver.step(0.0)
        return [getattr(error, "code", "") for _, error in self.decided]

    def _put_here(self, held: Held) -> bool:
        assert held.message is not None
        if held.message.job_id in self.unloadable:
            raise ModelUnavailableError
        self.here.append(held)
        return self.is_open

    def _put_there(self, held: Held) -> bool:
        self.there.append(held)
        return self.is_open

    def _decide(self, held: Held, outcome: Outcome, error: Exception | None) -> None:
        held.outcome = outcome
        self.decided.append((outcome, error))

    def texts_for(self, *texts: str, **changes: Any) -> EmbedRequested:
        fields: dict[str, Any] = {
            "tokens": None,
            "texts": list(texts),
            "model_id": REMOTE.model_id,
            "fingerprint": REMOTE.fingerprint,
        }
        return self.bench.jobs.a_message(texts).model_copy(update=fields | changes)


def test_texts_go_to_their_provider_and_tokens_to_the_model_here() -> None:
    desk = Desk()
    asked, computed = desk.texts_for("some text", "more"), desk.bench.jobs.a_message(["text"])

    desk.receive(asked, computed)

    assert [held.message for held in desk.there] == [asked]
    assert [held.message for held in desk.here] == [computed]
    assert (desk.there[0].missing, desk.there[0].token_ids) == (2, [])
    assert not desk.decided


def test_texts_count_as_the_tokens_that_a_provider_makes_of_them_about() -> None:
    desk = Desk()

    desk.receive(desk.texts_for("word " * 20_000))

    assert 20_000 < desk.context.holdings.weight < 40_000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fingerprint": "f" * 64}, "MODEL_MISMATCH"),
        ({"model_id": MODEL.model_id, "fingerprint": MODEL.fingerprint}, "SCHEMA"),
        ({"model_id": "strange"}, "MODEL_UNAVAILABLE"),
    ],
)
def test_texts_for_what_is_no_provider_s_model_are_not_asked_for(
    changes: dict[str, Any], code: str
) -> None:
    desk = Desk()

    codes = desk.receive(desk.texts_for("text", **changes))

    assert codes == [code]
    assert not desk.there
    assert not desk.here


def test_tokens_for_a_provider_s_model_are_refused() -> None:
    desk = Desk()
    changes = {"model_id": REMOTE.model_id, "fingerprint": REMOTE.fingerprint}
    message = desk.bench.jobs.a_message(["text"]).model_copy(update=changes)

    assert desk.receive(message) == ["SCHEMA"]


def test_texts_wait_for_a_worker_that_asks_providers() -> None:
    desk = Desk(remote=False)

    codes = desk.receive(desk.texts_for("text"), desk.bench.jobs.a_message(["text"]))

    assert codes == ["MODEL_UNAVAILABLE"]
    assert len(desk.here) == 1


def test_a_model_that_cannot_be_loaded_fails_its_own_messages_only() -> None:
    desk = Desk()
    messages = [desk.bench.jobs.a_message([f"text {n}"]) for n in range(4)]
    desk.unloadable = {messages[1].job_id}

    codes = desk.receive(*messages)

    assert codes == ["MODEL_UNAVAILABLE"]
    assert [held.message for held in desk.here] == [messages[0], *messages[2:]]
    assert {held.outcome for held in desk.here} == {Outcome.OPEN}


def test_what_is_not_taken_because_of_a_stop_is_handed_back() -> None:
    desk = Desk()
    desk.is_open = False

    desk.receive(desk.texts_for("text"), desk.bench.jobs.a_message(["text"]))

    assert [outcome for outcome, _ in desk.decided] == [Outcome.RELEASE] * 2


def test_damaged_model_files_are_no_fault_of_a_message() -> None:
    class Damaged(FakeModels):
        def get(self, model_id: str) -> ModelInfo:
            raise ModelFilesError

    desk = Desk(models=Damaged())

    assert desk.receive(desk.bench.jobs.a_message(["text"])) == ["MODEL_UNAVAILABLE"]


class Countdown(Event):
    """An event that sets itself after it was asked so often."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.left = asked

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def a_helped_receiver(bench: Bench, stop: Event) -> Receiver:
    context = replace(Context.of(bench.ports(), clock=bench.clock), stop=stop)
    return Receiver(context, lambda *_: None, lambda _: True)


def test_nobody_helps_with_an_idle_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "_GLANCE_S", 0.0)
    bench = Bench()
    receiver = a_helped_receiver(bench, Countdown(40))
    for n in range(9):
        bench.submit(f"text {n}")
    receiver.step(0.0)
    bench.submit("late")

    receiver.help_loop(0.0)

    assert bench.queue.depth == 1


def test_a_helper_receives_while_every_receive_comes_back_full() -> None:
    bench = Bench()
    stop = Event()
    receiver = a_helped_receiver(bench, stop)
    for n in range(95):
        bench.submit(f"text {n}")
    helper = Thread(target=receiver.help_loop, args=(0.0,))
    helper.start()

    for _ in range(2):
        receiver.step(0.0)
    for _ in range(2000):
        if not bench.queue.depth:
            break
        stop.wait(0.005)
    stop.set()
    helper.join(10)

    assert not helper.is_alive()
    assert bench.queue.depth == 0
