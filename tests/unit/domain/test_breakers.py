from __future__ import annotations

import pytest
from embedpipe.domain.breakers import BreakerRules, BreakerState

RULES = BreakerRules(failure_threshold=5, recovery_s=30)
CLOSED, HALF_OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
def test_below_the_threshold_it_stays_closed(failures: int) -> None:
    assert RULES.open_s(failures, CLOSED) is None


def test_each_failed_probe_doubles_the_wait_up_to_ten_minutes() -> None:
    waits = [RULES.open_s(failures, HALF_OPEN) for failures in range(5, 12)]

    assert waits == [30, 60, 120, 240, 480, 600, 600]
    assert RULES.open_s(10_000, HALF_OPEN) == 600


def test_a_recovery_time_above_ten_minutes_is_never_cut() -> None:
    assert BreakerRules(recovery_s=1800).open_s(9, HALF_OPEN) == 1800


@pytest.mark.parametrize(
    ("failures", "asked_s", "waited_s"),
    [(1, 2.0, 2.0), (4, 500.0, 500.0), (5, 2.0, 30.0), (5, 500.0, 500.0), (6, 61.0, 61.0)],
)
def test_what_the_provider_asks_for_wins_where_it_is_longer(
    failures: int, asked_s: float, waited_s: float
) -> None:
    assert RULES.open_s(failures, CLOSED, retry_after_s=asked_s) == waited_s


@pytest.mark.parametrize("asked_s", [0.0, -5.0])
def test_to_be_asked_back_at_once_opens_nothing(asked_s: float) -> None:
    assert RULES.open_s(1, CLOSED, retry_after_s=asked_s) is None


def test_nobody_is_kept_away_for_more_than_twelve_hours() -> None:
    assert RULES.open_s(1, CLOSED, retry_after_s=1e9) == 12 * 3600


def test_a_probe_that_fails_opens_it_again_whatever_the_count() -> None:
    assert RULES.open_s(2, HALF_OPEN) == 30


def test_one_failure_that_opens_counts_as_many_and_later_ones_go_on_from_there() -> None:
    assert RULES.failures_after(0, opens=True) == 5
    assert RULES.failures_after(5, opens=True) == 6
    assert RULES.failures_after(2, opens=False) == 3


def test_while_somebody_probes_the_others_look_again_soon() -> None:
    assert RULES.wait_s(HALF_OPEN, 100.0) == 1.0
    assert RULES.wait_s(BreakerState.OPEN, 100.0) == 100.0
    assert RULES.wait_s(BreakerState.OPEN, -1.0) == 0.0
