"""The plan's time keeps back where the pipeline does not keep up."""

from __future__ import annotations

from threading import Event

import pytest

from tests.chaos.clock import Clock


class Machine:
    """Something with a clock and a backlog."""

    def __init__(self) -> None:
        self.now = 100.0
        self.open_jobs: int | None = 0
        self.clock = Clock(lambda: self.open_jobs, clock=lambda: self.now)

    def go_on(self, seconds: float, open_jobs: int | None) -> float:
        """Let time pass with a backlog that is noticed at once; give the plan's time."""
        self.open_jobs = open_jobs
        self.clock.look()
        self.now += seconds
        return self.clock.now()


def test_time_runs_as_usual_while_few_jobs_are_open() -> None:
    assert Machine().go_on(10, open_jobs=50) == pytest.approx(10)


def test_time_slows_down_with_the_backlog_and_never_stops_or_runs_back() -> None:
    machine = Machine()

    assert machine.go_on(10, open_jobs=300) == pytest.approx(5)
    assert machine.go_on(10, open_jobs=100_000) == pytest.approx(6)
    assert machine.go_on(10, open_jobs=0) == pytest.approx(16)


def test_time_goes_on_as_it_did_while_nobody_can_be_asked() -> None:
    machine = Machine()
    machine.go_on(10, open_jobs=300)

    assert machine.go_on(10, open_jobs=None) == pytest.approx(10)


def test_whoever_waits_is_told_of_the_end() -> None:
    machine, stopping = Machine(), Event()
    machine.go_on(10, open_jobs=0)

    assert machine.clock.wait_until(5, stopping) is False
    stopping.set()
    assert machine.clock.wait_until(50, stopping) is True
