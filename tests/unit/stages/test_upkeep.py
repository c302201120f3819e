from __future__ import annotations

from embedpipe.errors import StoreUnavailableError, error_code
from embedpipe.stages.upkeep import Counts, HasTime, run_parts


class Time:
    """A clock on which every question of a part takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def fails(_has_time: HasTime) -> Counts:
    raise StoreUnavailableError


def test_a_part_that_fails_does_not_keep_the_others_from_running() -> None:
    done = run_parts({"a": fails, "b": lambda _: {"b": 2}}, left_s=lambda: 10)

    assert done.counts == {"b": 2}
    assert isinstance(done.failures["a"], StoreUnavailableError)


def test_a_bug_in_one_part_does_not_either() -> None:
    def buggy(_has_time: HasTime) -> Counts:
        raise KeyError("x")

    done = run_parts({"a": buggy, "b": lambda _: {"b": 2}}, left_s=lambda: 10)

    assert (done.counts, list(done.failures)) == ({"b": 2}, ["a"])


def test_each_part_has_its_share_of_what_is_left() -> None:
    clock = Time()

    def greedy(has_time: HasTime) -> Counts:
        steps = 0
        while has_time():
            steps += 1
        return {f"steps after {steps}": steps}

    done = run_parts(
        {"a": greedy, "b": lambda _: {}, "c": greedy},
        left_s=lambda: 30 - clock.now,
        clock=clock,
    )

    first, last = done.counts.values()
    assert first == 9
    assert last >= 15


def test_a_part_that_no_time_is_left_for_is_reported() -> None:
    done = run_parts({"a": lambda _: {"a": 1}}, left_s=lambda: 0)

    assert done.counts == {}
    assert error_code(done.failures["a"]) == "NO_TIME_LEFT"
