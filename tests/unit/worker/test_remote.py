"""Messages whose texts a provider computes: from the embed queue to the store queue."""

from __future__ import annotations

from itertools import chain
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeRemoteEmbedder
from embedpipe.adapters.memory.remote_models import fake_remote_model
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.breakers import BreakerState
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import (
    CircuitOpenError,
    EmbedderUnavailableError,
    ModelUnavailableError,
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from embedpipe.worker.cache import VectorCache
from embedpipe.worker.remote import RemoteWork

from tests.unit.worker.bench import some_settings, vectors_of
from tests.unit.worker.remote_bench import RemoteBench

MINUTE_S = 60.0


def expected(*texts: str) -> list[list[float]]:
    return [vector.tolist() for vector in FakeRemoteEmbedder().embed(texts, "document")]


def a_bench(*, refused: tuple[str, ...] = (), max_texts: int = 16, **settings: Any) -> RemoteBench:
    embedder = FakeRemoteEmbedder(refused=refused, max_texts=max_texts)
    return RemoteBench(embedder, some_settings(**settings))


def test_texts_go_in_and_vectors_come_out_in_the_order_of_the_chunks() -> None:
    bench = a_bench(max_texts=2)
    texts = ["one", "two words", "three whole words", "four", "five"]
    message = bench.submit(*texts)

    bench.worker.drain()

    [answer] = bench.answers()
    assert vectors_of(answer) == expected(*texts)
    assert answer.batch == message.batch
    assert (answer.model_id, answer.fingerprint) == (message.model_id, message.fingerprint)
    assert not bench.queue.peek()
    assert len(bench.worker.context.holdings) == 0
    assert set(bench.embedder.kinds) == {"document"}


def test_several_messages_share_a_request_up_to_the_limits_of_the_provider() -> None:
    bench = a_bench(max_texts=4)
    for at in range(4):
        bench.submit(f"text {at}", f"other {at}")

    bench.worker.drain()

    assert [len(call) for call in bench.embedder.calls] == [4, 4]
    assert len(bench.answers()) == 4


def test_tenants_take_turns() -> None:
    bench = a_bench(max_texts=1)
    for at in range(3):
        bench.submit(f"acme {at}")
    bench.submit("globex 0", tenant="globex")

    bench.worker.drain()

    assert ["globex 0"] in bench.embedder.calls[:2]


def test_a_refused_text_is_found_and_fails_its_message_alone() -> None:
    bench = a_bench(refused=("poison",))
    good = bench.submit("good", "better")
    bad = bench.submit("fine", "poison", "also fine")

    bench.worker.drain()

    assert bench.status(bad) is JobStatus.FAILED
    assert bench.error(bad) is not None
    code, text = bench.error(bad) or ("", "")
    assert code == "PROVIDER_REJECTED"
    assert "chunk 1" in text
    assert [answer.batch for answer in bench.answers()] == [good.batch]
    assert len(bench.dlq.peek()) == 1
    assert bench.breaker.state is BreakerState.CLOSED


def test_a_provider_that_refuses_everything_is_not_asked_about_every_text() -> None:
    texts = [f"text {at}" for at in range(64)]
    bench = a_bench(refused=tuple(texts), max_texts=64)
    message = bench.submit(*texts)

    bench.worker.drain()

    assert bench.status(message) is JobStatus.FAILED
    assert len(bench.embedder.calls) == 7


def test_a_request_that_failed_once_is_asked_again_and_costs_no_receive() -> None:
    bench = a_bench()
    bench.embedder.faults.append(ProviderUnavailableError())
    bench.submit("one", "two")

    bench.worker.drain()

    assert len(bench.answers()) == 1
    assert len(bench.embedder.calls) == 2
    assert bench.breaker.failures == 0


def test_chunks_computed_before_a_failure_are_not_asked_for_again() -> None:
    bench = a_bench(max_texts=1)
    bench.submit("one", "two", "three")
    bench.embedder.before = lambda texts: (
        bench.embedder.faults.append(ProviderUnavailableError()) if texts == ["one"] else None
    )

    bench.worker.drain()

    assert sorted(chain(*bench.embedder.calls)) == ["one", "three", "two", "two"]
    assert len(bench.answers()) == 1


def test_failures_in_a_row_open_the_breaker_and_then_nothing_is_asked() -> None:
    bench = a_bench()
    bench.embedder.outage = ProviderUnavailableError()
    message = bench.submit("one")

    bench.pass_time(25)

    assert bench.breaker.state is BreakerState.OPEN
    assert len(bench.embedder.calls) == 5
    assert bench.status(message) is not JobStatus.FAILED


def test_one_probe_closes_the_breaker_and_work_goes_on() -> None:
    bench = a_bench()
    bench.embedder.outage = ProviderUnavailableError()
    for at in range(8):
        bench.submit(f"text {at}")
    bench.pass_time(25)
    asked = len(bench.embedder.calls)
    bench.embedder.outage = None

    bench.pass_time(30)

    assert len(bench.answers()) == 8
    assert bench.breaker.state is BreakerState.CLOSED
    assert len(bench.embedder.calls) > asked


def test_two_workers_share_the_breaker_and_one_of_them_probes() -> None:
    bench = a_bench(EMBED_BUFFER_TOKENS=512)
    other = bench.another_worker()
    bench.embedder.outage = ProviderUnavailableError()
    for at in range(10):
        bench.submit(f"text {at} " + "word " * 60)
    bench.worker.receive()
    other.receive()
    bench.pass_time(10, bench.worker, other)
    opened_after = len(bench.embedder.calls)

    bench.pass_time(30, bench.worker, other)

    assert opened_after == 5
    assert len(bench.embedder.calls) == opened_after + 1
    assert bench.breaker.state is BreakerState.OPEN


def test_a_minute_without_the_provider_spends_one_receive_of_each_message() -> None:
    bench = a_bench(EMBED_BUFFER_TOKENS=512)
    bench.embedder.outage = ProviderUnavailableError()
    messages = [bench.submit(f"text {at} " + "word " * 60) for at in range(40)]
    bench.pass_time(MINUTE_S)
    receives = [one.receive_count for one in bench.queue.peek()]
    asked = len(bench.embedder.calls)
    bench.embedder.outage = None

    bench.pass_time(4 * MINUTE_S)

    assert not bench.dlq.peek()
    assert max(receives) == 1
    assert asked <= 7
    assert len(bench.answers()) == len(messages)


def test_a_day_without_the_provider_brings_no_message_to_its_last_receive() -> None:
    bench = a_bench(EMBED_BUFFER_TOKENS=512)
    bench.embedder.outage = ProviderRefusedError()
    for at in range(12):
        bench.submit(f"text {at} " + "word " * 60)

    bench.pass_time(24 * 60 * MINUTE_S, step_s=20)

    assert not bench.dlq.peek()
    assert max(one.receive_count for one in bench.queue.peek()) < 10
    assert len(bench.embedder.calls) < 200


def test_messages_of_others_find_room_while_a_provider_is_out_for_long() -> None:
    bench = a_bench(EMBED_BUFFER_TOKENS=512)
    bench.embedder.outage = ProviderUnavailableError()
    for at in range(20):
        bench.submit(f"text {at} " + "word " * 60)

    bench.pass_time(3 * MINUTE_S)

    assert 0 < bench.worker.context.holdings.weight <= 512 // 4 + 100


def test_whoever_says_when_to_come_back_is_not_asked_before() -> None:
    bench = a_bench()
    bench.embedder.faults.append(ProviderUnavailableError(retry_after_s=20))
    bench.submit("one")
    bench.worker.drain()

    bench.pass_time(18)
    before = len(bench.embedder.calls)
    bench.pass_time(4)

    assert before == 1
    assert len(bench.answers()) == 1


def test_a_refused_key_opens_the_breaker_at_once() -> None:
    bench = a_bench()
    bench.embedder.outage = ProviderRefusedError()
    bench.submit("one")

    bench.pass_time(20)

    assert len(bench.embedder.calls) == 1
    assert bench.breaker.last_error == "PROVIDER_REFUSED"


def test_a_reset_is_noticed_within_seconds() -> None:
    bench = a_bench()
    bench.embedder.outage = ProviderRefusedError()
    bench.submit("one")
    bench.pass_time(5)
    bench.embedder.outage = None

    reset = Act(Actor("acme", "olga"), "breaker.reset", bench.breaker.provider)
    bench.database.breakers.reset(bench.breaker.provider, reset)
    bench.pass_time(3)

    assert len(bench.answers()) == 1


def test_a_message_that_fails_while_others_are_answered_spends_its_attempts() -> None:
    bench = a_bench(max_texts=4)
    bad = bench.submit("breaks the provider")

    def breaks(texts: Any) -> None:
        if "breaks the provider" in texts:
            raise ProviderUnavailableError

    bench.embedder.before = breaks
    for at in range(120):
        good = bench.submit(f"good {at}")
        bench.pass_time(10)
        assert bench.status(good) is not JobStatus.FAILED

    assert bench.status(bad) is JobStatus.FAILED
    assert (bench.error(bad) or ("", ""))[0] == "PROVIDER_UNAVAILABLE"
    assert len(bench.answers()) == 120


def test_an_answer_that_is_a_bug_of_ours_does_not_fail_jobs_at_once_nor_open_the_breaker() -> None:
    bench = a_bench()
    bench.embedder.faults.append(KeyError("data"))
    message = bench.submit("one")

    bench.worker.drain()

    assert len(bench.answers()) == 1
    assert bench.status(message) is not JobStatus.FAILED
    assert bench.breaker.state is BreakerState.CLOSED
    assert "KeyError" in bench.log.getvalue()


def test_a_message_whose_lease_is_lost_is_not_asked_for() -> None:
    bench = a_bench()
    bench.submit("one")
    bench.worker.receive()
    bench.clock.now += bench.settings.visibility_s
    other = bench.another_worker()
    other.drain()

    while bench.worker.remote.step():
        pass

    assert len(bench.embedder.calls) == 1
    assert len(bench.answers()) == 1
    assert len(bench.worker.context.holdings) == 0


def test_a_message_of_a_model_that_is_not_there_waits() -> None:
    bench = a_bench()
    message = bench.a_message(["one"])
    other = message.model_copy(update={"model_id": "another"})
    held = _held(bench, other)

    assert bench.worker.remote.put(held)

    assert isinstance(held.error, ModelUnavailableError)


def _held(bench: RemoteBench, message: Any) -> Any:
    from embedpipe.ports import Received

    [held] = bench.worker.context.holdings.take([Received("m", "h", "")], bench.clock.now)
    held.message = message
    return held


def test_known_vectors_are_not_asked_for() -> None:
    cache = VectorCache(1_000_000)
    bench = RemoteBench(overrides={"cache": cache})
    bench.submit("same", "first")
    bench.worker.drain()

    bench.submit("same", "second")
    bench.submit("first", "same")
    bench.submit("same", tenant="globex")
    bench.worker.drain()

    assert bench.embedder.calls[0] == ["same", "first"]
    assert sorted(chain(*bench.embedder.calls[1:])) == ["same", "second"]
    assert [vectors_of(answer) for answer in bench.answers()].count(expected("first", "same")) == 1


def test_while_the_database_is_away_work_goes_on() -> None:
    bench = a_bench()
    breakers = Away()
    bench.overrides = {"breakers": breakers}
    worker = bench.another_worker()
    bench.submit("one")

    worker.drain()

    assert len(bench.answers()) == 1
    assert breakers.asked == 1


class Away:
    """Breakers whose database does not answer."""

    asked = 0

    def allow(self, provider: str, owner: str) -> Any:
        from embedpipe.errors import StoreUnavailableError

        self.asked += 1
        raise StoreUnavailableError


def test_a_closed_breaker_costs_one_query_in_two_seconds_and_no_write() -> None:
    bench = a_bench(max_texts=1)
    counting = Counting(bench.database.breakers)
    bench.overrides = {"breakers": counting}
    worker = bench.another_worker()
    bench.submit(*[f"text {at}" for at in range(50)])

    worker.drain()

    assert len(bench.embedder.calls) == 50
    assert counting.calls == ["allow"]


class Counting:
    """Breakers that note what is called."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.inner, name)


# In threads, and real time


@pytest.fixture
def embedder() -> FakeRemoteEmbedder:
    return FakeRemoteEmbedder()


def started(bench: RemoteBench) -> RemoteWork:
    bench.clock.now = 0.0
    remote = RemoteWork(bench.worker.context, bench.worker.sender.put)
    bench.worker.remote = remote
    bench.worker.receiver._put_remote = remote.put
    remote.start()
    return remote


def test_vectors_that_somebody_waits_for_come_at_once(embedder: FakeRemoteEmbedder) -> None:
    remote = started(RemoteBench(embedder))

    found = remote.compute("fake-remote", ["one", "two"], "query", 5)

    assert [vector.tolist() for vector in found if not isinstance(vector, Exception)] == expected(
        "one", "two"
    )
    assert embedder.kinds == ["query"]
    remote.close()
    assert remote.join(5)


def test_nobody_waits_behind_queued_work(embedder: FakeRemoteEmbedder) -> None:
    bench = RemoteBench(embedder, some_settings(EMBED_REMOTE_CONCURRENCY=1))
    is_busy, may_go_on = Event(), Event()

    def stall(texts: Any) -> None:
        if "queued" in texts:
            is_busy.set()
            may_go_on.wait(10)

    embedder.before = stall
    remote = started(bench)
    bench.submit("queued")
    bench.worker.receive()
    assert is_busy.wait(5)

    [found] = remote.compute("fake-remote", ["urgent"], "query", 5)

    assert not isinstance(found, Exception)
    may_go_on.set()
    remote.close()
    assert remote.join(5)


def test_a_refused_text_of_several_is_named(embedder: FakeRemoteEmbedder) -> None:
    embedder.refused = {"poison"}
    remote = started(RemoteBench(embedder))

    good, bad = remote.compute("fake-remote", ["good", "poison"], "document", 5)

    assert not isinstance(good, Exception)
    assert isinstance(bad, ProviderRejectedError)
    remote.close()


def test_while_the_breaker_is_open_the_caller_hears_so_and_nothing_is_asked(
    embedder: FakeRemoteEmbedder,
) -> None:
    bench = RemoteBench(embedder)
    embedder.outage = ProviderRefusedError()
    remote = started(bench)
    remote.compute("fake-remote", ["one"], "query", 5)

    [error] = remote.compute("fake-remote", ["one"], "query", 5)

    assert isinstance(error, CircuitOpenError)
    assert error.retry_after_s is not None
    assert error.retry_after_s > 20
    assert len(embedder.calls) == 1
    remote.close()


def test_a_caller_waits_no_longer_than_it_said(embedder: FakeRemoteEmbedder) -> None:
    may_go_on = Event()
    embedder.before = lambda _: bool(may_go_on.wait(10))  # type: ignore[assignment]
    remote = started(RemoteBench(embedder))
    start = monotonic()

    with pytest.raises(EmbedderUnavailableError):
        remote.compute("fake-remote", ["one"], "query", 0.05)

    assert monotonic() - start < 5
    may_go_on.set()
    remote.close()
    assert remote.join(5)


def test_when_the_worker_stops_callers_are_woken_and_new_ones_turned_away(
    embedder: FakeRemoteEmbedder,
) -> None:
    is_busy, may_go_on = Event(), Event()

    def stall(_: Any) -> None:
        is_busy.set()
        may_go_on.wait(10)

    embedder.before = stall
    remote = started(RemoteBench(embedder))
    errors: list[Exception] = []

    def call() -> None:
        try:
            remote.compute("fake-remote", ["one"], "query", 60)
        except EmbedderUnavailableError as error:
            errors.append(error)

    caller = Thread(target=call)
    caller.start()
    assert is_busy.wait(5)
    remote.close()
    caller.join(5)

    assert len(errors) == 1
    with pytest.raises(EmbedderUnavailableError):
        remote.compute("fake-remote", ["two"], "query", 60)
    may_go_on.set()
    assert remote.join(5)


def test_a_stop_finishes_requests_under_way_and_gives_back_what_waits(
    embedder: FakeRemoteEmbedder,
) -> None:
    bench = RemoteBench(embedder, some_settings(EMBED_REMOTE_CONCURRENCY=1))
    is_busy, may_go_on = Event(), Event()

    def stall(_: Any) -> None:
        is_busy.set()
        may_go_on.wait(10)

    embedder.before = stall
    remote = started(bench)
    under_way = bench.submit("under way")
    bench.worker.receive()
    assert is_busy.wait(5)
    waiting = bench.submit("waiting")
    bench.worker.receive()

    given_back = remote.close()
    may_go_on.set()
    assert remote.join(5)
    bench.worker.sender.step()

    assert [held.batch for held in given_back] == [waiting.batch]
    assert [answer.batch for answer in bench.answers()] == [under_way.batch]
    assert remote.abandon() == []
    assert not remote.put(_held(bench, waiting))


def test_a_stop_does_not_wait_for_a_provider_that_is_out(embedder: FakeRemoteEmbedder) -> None:
    bench = RemoteBench(embedder)
    embedder.outage = ProviderRefusedError()
    remote = started(bench)
    bench.submit("one")
    bench.worker.receive()
    until = monotonic() + 5
    while bench.breaker.state is BreakerState.CLOSED and monotonic() < until:
        Event().wait(0.01)

    given_back = remote.close()

    assert remote.join(1)
    bench.worker.sender.step()
    assert len(given_back) + bench.queue.depth == 1
    assert remote.abandon() == []


def test_what_hangs_at_the_stop_is_abandoned_and_its_late_answer_dropped(
    embedder: FakeRemoteEmbedder,
) -> None:
    bench = RemoteBench(embedder)
    is_busy, may_go_on = Event(), Event()

    def stall(_: Any) -> None:
        is_busy.set()
        may_go_on.wait(10)

    embedder.before = stall
    remote = started(bench)
    message = bench.submit("hangs")
    bench.worker.receive()
    assert is_busy.wait(5)
    assert remote.close() == []
    assert not remote.join(0.05)

    [abandoned] = remote.abandon()
    may_go_on.set()
    assert remote.join(5)

    assert abandoned.batch == message.batch
    assert bench.answers() == []
    assert remote.tokens_left == 0


def test_many_messages_in_many_threads_all_come_out_right() -> None:
    embedder = FakeRemoteEmbedder(fake_remote_model(), max_texts=5)
    embedder.faults.extend(ProviderUnavailableError() for _ in range(3))
    bench = RemoteBench(embedder, some_settings(BREAKER_RECOVERY_S=0.1))
    remote = started(bench)
    sent = {}
    for at in range(40):
        texts = [f"text {at} {row}" for row in range(at % 7 + 1)]
        sent[bench.submit(*texts).batch] = texts
    bench.worker.receive()
    until = monotonic() + 20
    while len(bench.answers()) < len(sent) and monotonic() < until:
        bench.worker.sender.step()
    remote.close()

    assert remote.join(5)
    assert {answer.batch: vectors_of(answer) for answer in bench.answers()} == {
        batch: expected(*texts) for batch, texts in sent.items()
    }
