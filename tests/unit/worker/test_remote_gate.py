"""What the worker knows of circuit breakers, and for how long it may be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from embedpipe.adapters.memory import MemoryDatabase
from embedpipe.domain.breakers import BreakerState
from embedpipe.errors import (
    CircuitOpenError,
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
    StoreUnavailableError,
)
from embedpipe.worker.remote_gate import Gate

from tests.unit.worker.remote_bench import Clock

AI = "fake-ai"


class Breakers:
    """Breakers whose database may go away; notes what is called."""

    def __init__(self, clock: Clock) -> None:
        self.inner = MemoryDatabase(clock=clock.datetime).breakers
        self.is_away = False
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        if self.is_away:
            raise StoreUnavailableError
        return getattr(self.inner, name)


class Provider:
    """Counts what it is asked, and fails while `error` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    def __call__(self) -> str:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return "answer"


class Parts:
    def __init__(self) -> None:
        self.clock = Clock()
        self.breakers = Breakers(self.clock)
        self.provider = Provider()
        self.gate = self.another_gate()

    def another_gate(self) -> Gate:
        return Gate(self.breakers, seconds=self.clock)

    def ask(self, times: int = 1, gate: Gate | None = None) -> list[str]:
        """Ask; give the answers, or the names of the errors."""
        answers = []
        for _ in range(times):
            try:
                answers.append((gate or self.gate).ask(AI, self.provider))
            except Exception as error:  # noqa: BLE001
                answers.append(type(error).__name__)
        return answers

    @property
    def state(self) -> BreakerState:
        return self.breakers.inner.get(AI).state


def opened() -> Parts:
    parts = Parts()
    parts.provider.error = ProviderRefusedError()
    parts.ask()
    parts.provider.error = None
    return parts


def test_answers_come_through_and_a_closed_breaker_is_read_every_two_seconds() -> None:
    parts = Parts()

    answers = parts.ask(10)
    parts.clock.now += 2
    answers += parts.ask(10)

    assert set(answers) == {"answer"}
    assert parts.breakers.calls == ["allow", "allow"]


def test_the_fifth_failure_in_a_row_is_the_last_request() -> None:
    parts = Parts()
    parts.provider.error = ProviderUnavailableError()

    answers = parts.ask(8)

    assert answers == ["ProviderUnavailableError"] * 5 + ["CircuitOpenError"] * 3
    assert parts.provider.asked == 5


def test_failures_of_several_workers_count_together() -> None:
    parts = Parts()
    other = parts.another_gate()
    parts.provider.error = ProviderUnavailableError()

    parts.ask(3)
    parts.ask(2, other)

    assert parts.state is BreakerState.OPEN


def test_a_good_answer_starts_the_count_again_by_one_write() -> None:
    parts = Parts()
    parts.provider.error = ProviderUnavailableError()
    parts.ask(4)
    parts.provider.error = None

    parts.ask(20)

    assert parts.breakers.calls.count("succeeded") == 1
    assert parts.breakers.inner.get(AI).failures == 0


def test_who_is_turned_away_hears_when_to_come_back_and_the_time_runs() -> None:
    parts = opened()
    waits = []
    for _ in range(2):
        with pytest.raises(CircuitOpenError) as denied:
            parts.gate.ask(AI, parts.provider)
        waits.append(denied.value.retry_after_s)
        parts.clock.now += 1

    assert waits == [30, 29]
    assert parts.gate.open_s(AI) == 2


def test_a_refused_text_neither_counts_nor_keeps_a_probe_from_closing_the_breaker() -> None:
    parts = Parts()
    parts.provider.error = ProviderRejectedError()
    parts.ask(10)
    before = parts.breakers.inner.get(AI).failures
    parts.provider.error = ProviderRefusedError()
    parts.ask()
    parts.provider.error = ProviderRejectedError()
    parts.clock.now += 30

    answers = parts.ask(2)

    assert before == 0
    assert answers == ["ProviderRejectedError"] * 2
    assert parts.state is BreakerState.CLOSED


def test_a_bug_of_ours_is_no_failure_of_the_provider_but_ends_a_probe() -> None:
    parts = Parts()
    parts.provider.error = KeyError("data")
    parts.ask(10)
    before = parts.breakers.inner.get(AI).failures
    parts.provider.error = ProviderRefusedError()
    parts.ask()
    parts.provider.error = KeyError("data")
    parts.clock.now += 30

    parts.ask()

    assert before == 0
    assert parts.state is BreakerState.OPEN


def test_while_the_database_is_away_the_last_known_state_holds_for_half_a_minute() -> None:
    parts = opened()
    parts.breakers.inner.failed(AI, 0, "PROVIDER_UNAVAILABLE")
    parts.ask()
    parts.breakers.is_away = True

    parts.clock.now += 29
    still = parts.ask()
    parts.clock.now += 2
    after = parts.ask()

    assert still == ["CircuitOpenError"]
    assert after == ["answer"]


def test_a_database_that_is_away_is_asked_once_in_ten_seconds() -> None:
    parts = Parts()
    parts.breakers.is_away = True

    answers = parts.ask(50)
    parts.clock.now += 10
    answers += parts.ask(50)

    assert set(answers) == {"answer"}
    assert parts.breakers.calls == ["allow", "allow"]


def test_what_happens_while_the_database_is_away_is_not_reported_later() -> None:
    parts = Parts()
    parts.breakers.is_away = True
    parts.provider.error = ProviderUnavailableError()
    parts.ask(10)
    parts.breakers.is_away = False
    parts.clock.now += 10

    parts.provider.error = None
    answers = parts.ask()

    assert answers == ["answer"]
    assert parts.breakers.inner.all() == []


def test_a_probe_whose_report_is_lost_is_made_again_by_another() -> None:
    parts = opened()
    parts.clock.now += 30

    def vanish() -> str:
        parts.breakers.is_away = True
        return "answer"

    parts.gate.ask(AI, vanish)
    parts.breakers.is_away = False
    parts.clock.now += 120
    other = parts.another_gate()

    assert parts.ask(1, other) == ["answer"]
    assert parts.state is BreakerState.CLOSED


def test_without_breakers_everything_is_allowed() -> None:
    parts = Parts()
    parts.provider.error = ProviderUnavailableError()

    assert parts.ask(20, Gate(None)) == ["ProviderUnavailableError"] * 20
