"""Queueing formulas against numbers from textbooks and from arithmetic."""

from __future__ import annotations

import math

import pytest
from embedpipe.domain.capacity.queueing import (
    awake_share,
    concurrency,
    in_flight,
    servers_for,
    wait_s,
    waiting_share,
)
from hypothesis import given
from hypothesis import strategies as st


def erlang_c(servers: int, load: float) -> float:
    """The formula as it stands in textbooks, with its sums and factorials."""
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / math.factorial(k) for k in range(servers)) + last)


def test_littles_law_counts_what_is_under_way() -> None:
    assert in_flight(20, 0.25) == 5


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.0), (3, 2.5), (10, 8.0), (20, 19.0)])
def test_the_share_that_waits_is_erlangs(servers: int, load: float) -> None:
    assert waiting_share(servers, load) == pytest.approx(erlang_c(servers, load))


def test_everybody_waits_where_servers_cannot_keep_up() -> None:
    assert waiting_share(3, 3.0) == 1.0
    assert wait_s(3, 3.0, 1.0) == math.inf


def test_one_server_half_busy_keeps_one_in_twenty_waiting_longer_than_4_6_services() -> None:
    # M/M/1: P(wait > t) = load * e^(-(1/service - rate) t); 0.05 = 0.5 e^(-0.5 t).
    assert wait_s(1, 0.5, 1.0) == pytest.approx(math.log(10) / 0.5)


def test_nobody_of_95_in_100_waits_where_one_in_twenty_or_fewer_do() -> None:
    assert wait_s(10, 1.0, 1.0) == 0.0


@given(st.floats(0.001, 200), st.floats(0.001, 5), st.floats(0.001, 60))
def test_so_many_servers_do_and_one_fewer_does_not(
    per_s: float, each_s: float, within_s: float
) -> None:
    servers = servers_for(per_s, each_s, within_s=within_s)

    assert servers is not None
    assert wait_s(servers, per_s, each_s) <= within_s
    assert servers == 1 or wait_s(servers - 1, per_s, each_s) > within_s


def test_no_number_of_servers_gives_time_back() -> None:
    assert servers_for(1.0, 1.0, within_s=-0.1) is None


@given(st.floats(0, 1e5))
def test_twice_the_work_takes_at_most_twice_the_concurrency(mean: float) -> None:
    assert concurrency(2 * mean) <= 2 * concurrency(mean)


def test_what_stops_after_a_quarter_hour_sleeps_e_to_the_minus_one_with_four_an_hour() -> None:
    assert awake_share(4, idle_h=0.25, start_h=0) == pytest.approx(1 - math.exp(-1))


def test_a_start_takes_its_time_at_each_waking() -> None:
    # Once an hour: awake (0.1 + e^0.25 - 1) hours, asleep one hour.
    awake_h = 0.1 + math.exp(0.25) - 1

    assert awake_share(1, idle_h=0.25, start_h=0.1) == pytest.approx(awake_h / (awake_h + 1))


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_arrivals_keep_it_awake_longer(one: float, other: float) -> None:
    less, more = sorted((one, other))

    assert (
        awake_share(less, idle_h=0.25, start_h=0.1)
        <= awake_share(more, idle_h=0.25, start_h=0.1) + 1e-12
    )
