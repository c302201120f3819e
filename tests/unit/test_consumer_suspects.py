"""Records that were delivered before, and what they may do to a process and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from embedpipe.adapters.memory import FakeModels, MemoryBlobs, MemoryDatabase, MemoryQueue
from embedpipe.consumer import Consumer
from embedpipe.domain.jobs import JobStatus
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import QueueUnavailableError, StoreUnavailableError
from embedpipe.messages import ChunkRequested
from embedpipe.ports import CrashKey, OutboxRow, Outgoing, Received

from tests.builders import a_new_job
from tests.sqs_events import as_event, failed_ids


class PanicException(BaseException):
    """As pyo3 raises them."""


def job_id(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012d}"


def a_message(n: int) -> ChunkRequested:
    return ChunkRequested(
        tenant_id="tenant-a",
        job_id=job_id(n),
        epoch=1,
        collection="default",
        document_id=f"doc-{n}",
        document_version=1,
    )


class Ledger:
    """The ledger of a database, watched, that may be away."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.real = database.crash_ledger
        self.calls: list[str] = []
        self.away: set[str] = set()

    def begin(self, keys: Sequence[CrashKey]) -> dict[CrashKey, int]:
        self._answer("begin")
        return self.real.begin(keys)

    def end(self, keys: Sequence[CrashKey]) -> None:
        self._answer("end")
        self.real.end(keys)

    def _answer(self, name: str) -> None:
        self.calls.append(name)
        if name in self.away:
            raise StoreUnavailableError


class Bench:
    """A function with jobs 1 to 9 on its queue; `faults` are what their work raises."""

    def __init__(self, *, policy: RetryPolicy | None = None) -> None:
        self.now = 0.0
        self.queue = MemoryQueue(
            "chunk", visibility_s=30, clock=lambda: self.now, dlq=MemoryQueue("chunk-dlq")
        )
        self.database = MemoryDatabase()
        self.database.create_tenant("tenant-a", FakeModels().get("fake"))
        self.ledger = Ledger(self.database)
        self.policy = policy or RetryPolicy()
        self.faults: dict[int, BaseException] = {}
        self.seen: list[int] = []
        for n in range(1, 10):
            job = a_new_job(tenant_id="tenant-a", job_id=job_id(n), document_id=f"doc-{n}")
            self.database.jobs.admit(job, lambda _: OutboxRow("tenant-a", "chunk", "", "{}"))

    def work(self, message: ChunkRequested) -> None:
        n = int(message.job_id[-1])
        self.seen.append(n)
        if n in self.faults:
            raise self.faults[n]

    def send(self, *numbers: int) -> None:
        self.queue.send([Outgoing(str(n), a_message(n).encode(), "tenant-a") for n in numbers])

    def receive(self) -> list[Received]:
        self.now += 1000
        return self.queue.receive(max_messages=10, wait_s=0)

    def consume(self, received: Sequence[Received]) -> list[str]:
        consumer = Consumer(
            ChunkRequested,
            self.work,
            inbox=self.queue,
            jobs=self.database.jobs,
            policy=self.policy,
            stage="chunk",
            blobs=MemoryBlobs(),
            ledger=self.ledger,
        )
        return failed_ids(consumer(as_event(received)))

    def invoke(self) -> bool:
        """Do what an event source mapping does; say whether the process died."""
        received = self.receive()
        try:
            failed = self.consume(received)
        except SystemExit:
            return True
        self.queue.ack([one for one in received if one.message_id not in failed])
        return False

    def deaths(self, n: int) -> int:
        rows = self.database.rows("crash_ledger")
        return sum(row["deaths"] for row in rows if row["job_id"] == job_id(n))

    def error_code(self, n: int) -> str | None:
        error = self.database.jobs.get("tenant-a", job_id(n)).error
        return error.code if error else None


def test_first_deliveries_ask_nothing_of_the_ledger_and_are_not_removed_one_by_one() -> None:
    bench = Bench()
    bench.send(1, 2, 3)

    failed = bench.consume(bench.receive())

    assert failed == []
    assert bench.ledger.calls == []
    assert len(bench.queue.peek()) == 3


def test_suspects_come_last_and_what_is_done_by_then_is_removed() -> None:
    bench = Bench()
    bench.send(1)
    bench.receive()
    bench.send(2, 3)
    bench.faults[1] = SystemExit()

    died = bench.invoke()

    assert died
    assert bench.seen == [2, 3, 1]
    assert [int(one.body.split("doc-")[1][0]) for one in bench.queue.peek()] == [1]
    assert [bench.deaths(n) for n in (1, 2, 3)] == [1, 0, 0]


@pytest.mark.parametrize(
    "error", [RuntimeError(), MemoryError(), PanicException()], ids=lambda one: type(one).__name__
)
def test_an_exception_is_an_orderly_end(error: BaseException) -> None:
    bench = Bench()
    bench.send(1)
    bench.receive()
    bench.faults[1] = error

    died = bench.invoke()

    assert not died
    assert bench.ledger.calls == ["begin", "end"]
    assert bench.database.rows("crash_ledger") == []


def test_a_killer_is_given_up_after_so_many_deaths_and_its_neighbours_are_not() -> None:
    bench = Bench()
    bench.send(*range(1, 10))
    bench.faults[5] = SystemExit()

    died = 0
    while bench.queue.peek():
        died += bench.invoke()

    # Once when nothing was known of it, and then as often as it may.
    assert died == 1 + bench.policy.max_deaths
    assert bench.error_code(5) == "POISON_CRASH"
    assert bench.queue.dlq is not None
    [dead] = bench.queue.dlq.peek()
    assert dead.attributes["error_code"] == "POISON_CRASH"
    assert [bench.error_code(n) for n in range(1, 10) if n != 5] == [None] * 8
    assert bench.database.jobs.get("tenant-a", job_id(5)).status is JobStatus.FAILED


def test_a_suspect_waits_for_the_database_and_spends_no_attempt() -> None:
    bench = Bench(policy=RetryPolicy(max_retries=0))
    bench.send(1)
    bench.receive()
    bench.ledger.away = {"begin"}

    failed = bench.consume(bench.receive())

    assert len(failed) == 1
    assert bench.seen == []
    assert bench.error_code(1) is None


def test_what_is_done_stays_done_when_the_death_cannot_be_taken_back() -> None:
    bench = Bench()
    bench.send(1)
    bench.receive()
    bench.ledger.away = {"end"}

    failed = bench.consume(bench.receive())

    assert failed == []
    assert bench.seen == [1]


def test_suspects_are_worked_on_though_nothing_can_be_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.send(1)
    bench.receive()
    bench.send(2)
    received = bench.receive()

    def away(_: Any) -> None:
        raise QueueUnavailableError

    monkeypatch.setattr(bench.queue, "ack", away)

    failed = bench.consume(received)

    assert failed == []
    assert bench.seen == [2, 1]
