from __future__ import annotations

import pytest
from embedpipe.domain.tuning import (
    Arm,
    cpu_arms,
    overhead_tokens,
    sample_lengths,
    smallest_near_best,
    spread,
)


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 8, 16, 48, 64, 192])
def test_arms_use_all_cores_once_and_no_more(cores: int) -> None:
    arms = cpu_arms(cores)

    assert arms[0] == Arm(1, cores)
    assert arms[-1] == Arm(cores, 1)
    assert len(arms) <= 3
    assert all(arm.streams * arm.threads <= cores and arm.threads >= 1 for arm in arms)


def test_no_core_counts_as_one() -> None:
    assert cpu_arms(0) == [Arm(1, 1)]


@pytest.mark.parametrize("max_tokens", [8, 64, 256, 8192])
@pytest.mark.parametrize("total", [1, 500, 16_384, 131_072])
def test_a_sample_has_about_the_tokens_asked_for_and_is_the_same_every_time(
    max_tokens: int, total: int
) -> None:
    lengths = sample_lengths(max_tokens, total)

    assert lengths == sample_lengths(max_tokens, total)
    assert 4 <= min(lengths) <= max(lengths) <= max_tokens
    assert len(lengths) >= 8
    if len(lengths) > 8:
        assert 0.6 * total < sum(lengths) < 1.4 * total


def test_a_sample_has_short_and_long_inputs() -> None:
    lengths = sorted(sample_lengths(512, 50_000))

    assert lengths[len(lengths) // 10] < 30
    assert 50 < lengths[len(lengths) // 2] < 70
    assert lengths[-len(lengths) // 20] > 200


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_an_order_that_is_spread_has_each_once(count: int) -> None:
    assert sorted(spread(count)) == list(range(count))


def test_any_few_neighbours_of_a_spread_order_come_from_all_over() -> None:
    order = spread(60)

    for start in range(56):
        few = order[start : start + 4]
        assert min(few) < 30 <= max(few)


def test_the_overhead_is_what_the_start_costs_in_tokens() -> None:
    seconds = {size: 0.002 + 0.0001 * size for size in (32, 64, 128, 256, 512)}

    assert overhead_tokens(seconds, most=512) == 20


def test_one_disturbed_size_does_not_change_the_overhead_much() -> None:
    seconds = {size: 0.002 + 0.0001 * size for size in (32, 64, 128, 256, 512)}
    seconds[128] *= 3

    assert 10 <= overhead_tokens(seconds, most=512) <= 40


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({100: 0.0001, 200: 0.0003}, 0),
        ({100: 0.1, 200: 0.1}, 300),
        ({100: 0.2, 200: 0.1}, 300),
        ({100: 1.001, 200: 1.002}, 300),
    ],
)
def test_an_overhead_is_never_negative_and_never_over_the_most(
    seconds: dict[int, float], expected: int
) -> None:
    assert overhead_tokens(seconds, most=300) == expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([[100.0], [101.0], [102.0]], 0),
        ([[100.0], [101.0], [103.0]], 1),
        ([[100.0], [150.0], [140.0]], 1),
        ([[100.0, 1.0, 100.0], [90.0, 900.0, 91.0]], 0),
        ([[0.0], [0.0]], 0),
    ],
)
def test_the_first_that_is_within_two_per_cent_of_the_best_is_chosen(
    rates: list[list[float]], expected: int
) -> None:
    assert smallest_near_best(rates) == expected
