from __future__ import annotations

from typing import Any

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import (
    PermanentError,
    ProviderUnavailableError,
    StoreUnavailableError,
    TransientError,
)
from embedpipe.ports import Outgoing, Received
from embedpipe.stages.settle import Settled, settle_failure

from tests.builders import MODEL, admit

POLICY = RetryPolicy(max_retries=3, base_s=10)


class Bench:
    """A message of a job, received so many times."""

    def __init__(self, receives: int = 1) -> None:
        self.now = 0.0
        self.dlq = MemoryQueue("chunk-dlq")
        self.queue = MemoryQueue("chunk", visibility_s=30, clock=lambda: self.now, dlq=self.dlq)
        self.database = MemoryDatabase()
        self.database.create_tenant("acme", MODEL)
        self.ref: JobRef = admit(self.database)
        self.queue.send([Outgoing("0", "body", "acme")])
        for _ in range(receives):
            [self.received] = self.receive()

    def receive(self) -> list[Received]:
        self.now += 31
        return self.queue.receive(wait_s=0)

    def settle(self, error: Exception, **overrides: Any) -> Settled:
        options: dict[str, Any] = {"policy": POLICY, "ref": self.ref} | overrides
        return settle_failure(
            self.received, error, inbox=self.queue, jobs=self.database.jobs, **options
        )

    def hidden_s(self) -> float:
        """Give the seconds after which the message is seen again."""
        for seconds in range(100_000):
            self.now += 1
            if self.queue.receive(wait_s=0):
                return seconds + 1
        raise AssertionError("it never came back")


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every jittered wait be the longest that it may be."""
    delay_s = RetryPolicy.delay_s

    def at_most(self: RetryPolicy, attempt: int, **options: Any) -> float:
        return delay_s(self, attempt, **options, uniform=lambda _, high: high)

    monkeypatch.setattr(RetryPolicy, "delay_s", at_most)


@pytest.mark.usefixtures("longest")
def test_waits_double_by_the_attempts_that_the_database_counts_and_not_by_receives() -> None:
    bench = Bench(receives=7)

    first = (bench.settle(TransientError()), bench.hidden_s())
    [bench.received] = bench.receive()
    second = (bench.settle(TransientError()), bench.hidden_s())

    assert first == (Settled.RETRIED, 10)
    assert second == (Settled.RETRIED, 20)


def test_what_the_failing_service_asked_for_wins() -> None:
    bench = Bench()

    bench.settle(TransientError(retry_after_s=77))

    assert bench.hidden_s() == 77


def test_an_outage_spends_no_attempt_however_often_it_is_met() -> None:
    bench = Bench()
    for _ in range(20):
        assert bench.settle(ProviderUnavailableError()) is Settled.RETRIED
        bench.hidden_s()
        [bench.received] = bench.receive()

    bench.settle(TransientError())

    assert bench.database.jobs.get("acme", bench.ref.job_id).attempts == 1


def test_retries_spent_go_to_the_dlq_with_the_reason_and_fail_the_job() -> None:
    bench = Bench()
    settled = []
    for _ in range(4):
        settled.append(bench.settle(TransientError(code="FLAKY")))
        bench.now += 1000
        bench.received = next(iter(bench.receive()), bench.received)

    assert settled == [Settled.RETRIED] * 3 + [Settled.REJECTED]
    [dead] = bench.dlq.peek()
    assert (dead.attributes["error_code"], dead.attributes["failure_type"]) == (
        "FLAKY",
        "transient",
    )
    assert bench.database.jobs.get("acme", bench.ref.job_id).status is JobStatus.FAILED


def test_nothing_is_copied_to_the_dlq_while_its_job_cannot_be_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()

    def away() -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(bench.database.jobs, "check", away)

    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            bench.settle(PermanentError())

    assert bench.dlq.bodies() == []
    assert bench.queue.bodies() == ["body"]


def test_a_wait_is_never_longer_than_the_queue_can_hide_a_message() -> None:
    bench = Bench()

    bench.settle(TransientError(retry_after_s=10**9))

    assert 40_000 < bench.hidden_s() < 43_200
