"""Messages that were delivered before, and what they may do to a process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event, Lock, Thread
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeEmbedder
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import StoreUnavailableError
from embedpipe.messages import EmbedRequested
from embedpipe.ports import CrashKey
from embedpipe.worker.solitude import Solitude

from tests.unit.worker.bench import Bench, some_settings, token


class Deadly(FakeEmbedder):
    """A model that one word ends the process with."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if any(token("deadly") in ids for ids in token_ids):
            self.calls.append([list(ids) for ids in token_ids])
            raise SystemExit(139)
        return super().embed(token_ids)


class PanicException(BaseException):
    """What a Rust extension raises."""


class Raising(FakeEmbedder):
    """A model that one word makes raise."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if any(token("bad") in ids for ids in token_ids):
            raise self.error
        return super().embed(token_ids)


class Ledger:
    """The ledger of a database, watched, that may be away."""

    def __init__(self, bench: Bench) -> None:
        self.real = bench.jobs.database.crash_ledger
        self.calls: list[str] = []
        self.failures = 0

    def begin(self, keys: Sequence[CrashKey]) -> dict[CrashKey, int]:
        self._answer("begin")
        return self.real.begin(keys)

    def end(self, keys: Sequence[CrashKey]) -> None:
        self._answer("end")
        self.real.end(keys)

    def _answer(self, name: str) -> None:
        self.calls.append(name)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError


def a_bench(embedder: FakeEmbedder | None = None, **settings: Any) -> Bench:
    return Bench(
        embedder=embedder or FakeEmbedder(),
        settings=some_settings(EMBED_VISIBILITY_S=3, **settings),
    )


def deliver_again(bench: Bench) -> None:
    bench.queue.receive(wait_s=0)
    bench.clock.now += 4


def key_of(message: EmbedRequested) -> CrashKey:
    return CrashKey(message.ref, "embed", message.batch_no)


def deaths(bench: Bench, message: EmbedRequested) -> int:
    rows = bench.jobs.database.rows("crash_ledger")
    return sum(row["deaths"] for row in rows if row["job_id"] == message.job_id)


def live_until_death(bench: Bench) -> bool:
    """Run a worker of a process of its own; say whether it died."""
    bench.clock.now += 100
    worker = bench.worker = bench.another_worker()
    try:
        worker.drain()
    except SystemExit:
        return True
    return False


def test_first_deliveries_ask_nothing_of_the_ledger() -> None:
    bench = a_bench()
    ledger = Ledger(bench)
    bench.overrides["ledger"] = ledger
    bench.worker = bench.another_worker()
    for n in range(20):
        bench.submit(f"text {n}")

    bench.worker.drain()

    assert bench.counts["done"] == 20
    assert ledger.calls == []


def test_a_suspect_is_written_down_while_it_is_computed_and_not_after() -> None:
    seen: list[int] = []

    class Looking(FakeEmbedder):
        def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
            if len(self.calls):
                seen.append(deaths(bench, message))
            return super().embed(token_ids)

    bench = a_bench(Looking())
    message = bench.submit("some words")
    deliver_again(bench)

    bench.worker.drain()

    assert seen == [1]
    assert bench.counts["done"] == bench.counts["suspects"] == 1
    assert bench.jobs.database.rows("crash_ledger") == []


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), PanicException("no"), MemoryError()], ids=lambda one: repr(one)
)
def test_an_exception_is_an_orderly_end(error: BaseException) -> None:
    bench = a_bench(Raising(error))
    bad = bench.submit("bad words")
    deliver_again(bench)

    bench.worker.drain()

    assert bench.jobs.database.rows("crash_ledger") == []
    is_poison = not isinstance(error, MemoryError)
    assert bench.jobs.error_code(bad) == ("POISON_CHUNK" if is_poison else None)
    assert bench.counts["rejected" if is_poison else "retried"] == 1


def test_what_ends_the_process_leaves_a_death_and_what_was_beside_it_none() -> None:
    bench = a_bench(Deadly())
    deadly, innocent = bench.submit("deadly words"), bench.submit("other words")
    deliver_again(bench)

    assert live_until_death(bench)

    assert (deaths(bench, deadly), deaths(bench, innocent)) == (1, 0)


def test_a_killer_is_given_up_after_so_many_deaths_and_nobody_else_is() -> None:
    embedder = Deadly()
    bench = a_bench(embedder)
    deadly = bench.submit("deadly words")
    innocents = [bench.submit(f"other words {n}") for n in range(5)]

    died = 0
    while live_until_death(bench):
        died += 1
    bench.store_all()

    # Once beside others, when nothing was known of it, and then three times by itself.
    assert died == 4
    assert bench.jobs.error_code(deadly) == "POISON_CRASH"
    assert {bench.jobs.status(one) for one in innocents} == {JobStatus.SUCCEEDED}
    [dead] = bench.dlq.peek()
    assert dead.attributes["error_code"] == "POISON_CRASH"
    assert dead.attributes["failure_type"] == "permanent"
    calls = [call for call in embedder.calls if any(token("deadly") in ids for ids in call)]
    assert [len(call) for call in calls[1:]] == [1, 1, 1]


def test_a_known_killer_waits_until_no_other_suspect_does() -> None:
    bench = a_bench(Deadly())
    deadly = bench.submit("deadly words")
    innocents = [bench.submit(f"other words {n}") for n in range(5)]
    deliver_again(bench)
    bench.jobs.database.crash_ledger.begin([key_of(deadly)])

    assert live_until_death(bench)

    assert bench.counts["suspects"] == 6
    bench.worker.sender.step()
    bench.store_all()
    assert {bench.jobs.status(one) for one in innocents} == {JobStatus.SUCCEEDED}


def test_the_setting_says_how_many_deaths() -> None:
    bench = a_bench(Deadly())
    bench.overrides["policy"] = type(bench.ports().policy)(max_deaths=1)
    deadly = bench.submit("deadly words")

    died = 0
    while live_until_death(bench):
        died += 1

    assert died == 2
    assert bench.jobs.error_code(deadly) == "POISON_CRASH"


def test_a_suspect_waits_for_the_database_and_comes_through() -> None:
    bench = a_bench()
    ledger = Ledger(bench)
    ledger.failures = 3
    bench.overrides["ledger"] = ledger
    bench.submit("some words")
    deliver_again(bench)
    bench.worker = bench.another_worker()

    bench.worker.drain()

    assert ledger.calls == ["begin"] * 4 + ["end"]
    assert bench.counts["done"] == 1
    assert bench.log.getvalue().count('"calls fail"') == 1


def in_threads(bench: Bench) -> tuple[Thread, list[int]]:
    statuses: list[int] = []
    thread = Thread(target=lambda: statuses.append(bench.worker.run()))
    thread.start()
    return thread, statuses


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def a_running_bench(embedder: FakeEmbedder, **settings: Any) -> Bench:
    bench = Bench.with_pauses(
        embedder=embedder, settings=some_settings(EMBED_STOP_TIMEOUT_S=3, **settings)
    )
    bench.worker.prepare()
    return bench


def received_before(bench: Bench) -> None:
    for one in bench.queue.receive(max_messages=10, wait_s=0):
        bench.queue.retry(one, 0)


def test_others_go_on_while_a_suspect_waits_for_the_database() -> None:
    bench = a_running_bench(FakeEmbedder())
    ledger = Ledger(bench)
    ledger.failures = 10**6
    bench.worker.engine._trials._ledger = ledger
    bench.submit("some words")
    received_before(bench)
    for n in range(10):
        bench.submit(f"text {n}")

    thread, statuses = in_threads(bench)
    until(lambda: bench.counts["done"] == 10)
    failing = bench.worker.context.outages.on()
    ledger.failures = 0
    until(lambda: bench.counts["done"] == 11)
    bench.worker.stop()
    thread.join(20)

    assert "ledger" in failing
    assert statuses == [0]
    assert bench.jobs.database.rows("crash_ledger") == []


def test_a_suspect_that_is_handed_back_at_a_stop_has_no_death() -> None:
    class Endless(FakeEmbedder):
        started, go_on = Event(), Event()

        def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
            if self.calls:
                self.started.set()
                self.go_on.wait(20)
            return super().embed(token_ids)

    bench = a_running_bench(Endless())
    message = bench.submit("some words")
    received_before(bench)

    thread, _ = in_threads(bench)
    assert Endless.started.wait(20)
    before = deaths(bench, message)
    bench.worker.stop()
    thread.join(20)
    Endless.go_on.set()

    assert before == 1
    until(lambda: deaths(bench, message) == 0)
    assert bench.counts["released"] == 1


def test_an_exit_that_a_suspect_asks_for_is_a_death_though_the_worker_stops_in_order() -> None:
    bench = a_running_bench(Deadly())
    message = bench.submit("deadly words")
    received_before(bench)

    thread, statuses = in_threads(bench)
    thread.join(20)

    assert statuses == [1]
    assert deaths(bench, message) == 1


def test_a_suspect_with_a_death_is_computed_with_nothing_beside_it() -> None:
    class Beside(FakeEmbedder):
        lock, running, most_beside = Lock(), 0, 0

        def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
            with self.lock:
                Beside.running += 1
            time.sleep(0.02)
            with self.lock:
                if any(token("suspicious") in ids for ids in token_ids):
                    Beside.most_beside = max(Beside.most_beside, self.running)
            vectors = super().embed(token_ids)
            with self.lock:
                Beside.running -= 1
            return vectors

    bench = a_running_bench(Beside(), EMBED_STREAMS=3, EMBED_MAX_BATCH_TOKENS=16)
    suspects = [bench.submit("suspicious words") for _ in range(3)]
    bench.jobs.database.crash_ledger.begin([key_of(one) for one in suspects])
    received_before(bench)
    for n in range(40):
        bench.submit(f"text {n}")

    thread, _ = in_threads(bench)
    until(lambda: bench.counts["done"] == 43)
    bench.worker.stop()
    thread.join(20)

    assert Beside.most_beside == 1
    assert {deaths(bench, one) for one in suspects} == {1}


def test_who_wants_to_be_alone_is_and_who_comes_meanwhile_waits() -> None:
    solitude, order, alone = Solitude(), list[str](), Event()

    def be_alone() -> None:
        with solitude.alone():
            order.append("alone")

    def share() -> None:
        with solitude.shared():
            order.append("shared")

    threads = [Thread(target=be_alone), Thread(target=share)]
    with solitude.shared(), solitude.shared():
        threads[0].start()
        until(lambda: solitude._wanting == 1)
        threads[1].start()
        alone.wait(0.1)
        held_back = list(order)
    for thread in threads:
        thread.join(20)

    assert held_back == []
    assert order == ["alone", "shared"]
