from __future__ import annotations

from itertools import combinations, pairwise

from embedpipe.domain.batching import WINDOW, plan_batches
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 40), max_size=9)
BUDGET = st.integers(1, 120)
OVERHEAD = st.integers(0, 50)


def cost(batches: list[list[int]], lengths: list[int], overhead: int) -> int:
    return sum(max(lengths[i] for i in batch) * len(batch) + overhead for batch in batches)


def cheapest_by_trying_all(lengths: list[int], budget: int, overhead: int) -> int:
    ascending = sorted(lengths)
    costs = []
    for count in range(len(ascending)):
        for cuts in combinations(range(1, len(ascending)), count):
            parts = [ascending[a:b] for a, b in pairwise([0, *cuts, len(ascending)])]
            if all(len(part) == 1 or part[-1] * len(part) <= budget for part in parts):
                costs.append(sum(part[-1] * len(part) + overhead for part in parts))
    return min(costs, default=0)


@given(LENGTHS, BUDGET, OVERHEAD)
def test_no_other_cut_costs_less(lengths: list[int], budget: int, overhead: int) -> None:
    batches = plan_batches(lengths, max_tokens=budget, overhead_tokens=overhead)

    assert cost(batches, lengths, overhead) == cheapest_by_trying_all(lengths, budget, overhead)


@given(st.lists(st.integers(1, 300), max_size=200), BUDGET, OVERHEAD)
def test_every_input_is_in_one_batch_within_the_budget(
    lengths: list[int], budget: int, overhead: int
) -> None:
    batches = plan_batches(lengths, max_tokens=budget, overhead_tokens=overhead)

    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget


def test_an_input_over_the_budget_stands_alone() -> None:
    batches = plan_batches([5, 600, 5], max_tokens=512, overhead_tokens=16)

    assert batches == [[1], [0, 2]]


def test_the_longest_batch_comes_first() -> None:
    batches = plan_batches([1, 200, 30], max_tokens=256, overhead_tokens=0)

    assert batches == [[1], [2], [0]]


def test_nothing_to_plan_gives_no_batches() -> None:
    assert plan_batches([], max_tokens=512, overhead_tokens=16) == []


def test_without_overhead_only_equal_lengths_share_a_batch_for_free() -> None:
    batches = plan_batches([7, 8, 7, 8], max_tokens=512, overhead_tokens=0)

    assert cost(batches, [7, 8, 7, 8], 0) == 30


def test_a_batch_is_never_wider_than_the_window() -> None:
    lengths = [1] * (2 * WINDOW + 1)

    batches = plan_batches(lengths, max_tokens=1_000_000, overhead_tokens=64)

    assert max(len(batch) for batch in batches) == WINDOW
