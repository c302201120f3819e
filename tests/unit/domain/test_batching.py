from __future__ import annotations

import math
import random
from itertools import combinations, pairwise

import pytest
from embedpipe.domain.batching import cut_lengths, fitting, plan_batches
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 300), max_size=200)
BUDGET = st.integers(1, 2000)
OVERHEAD = st.integers(0, 500)
COUNTS = st.dictionaries(st.integers(1, 40), st.integers(1, 60), max_size=8)


def cost(batches: list[list[int]], lengths: list[int], overhead: int) -> int:
    return sum(max(lengths[i] for i in batch) * len(batch) + overhead for batch in batches)


def useful(batches: list[list[int]], lengths: list[int]) -> float:
    return sum(lengths) / cost(batches, lengths, 0)


def part_cost(counts: dict[int, int], lengths: list[int], budget: int, overhead: int) -> int:
    inputs = sum(counts[length] for length in lengths)
    return lengths[-1] * inputs + overhead * math.ceil(inputs / fitting(lengths[-1], budget))


def cheapest_by_trying_all(counts: dict[int, int], budget: int, overhead: int) -> int:
    ascending = sorted(counts)
    costs = []
    for number in range(len(ascending)):
        for cuts in combinations(range(1, len(ascending)), number):
            parts = [ascending[a:b] for a, b in pairwise([0, *cuts, len(ascending)])]
            costs.append(sum(part_cost(counts, part, budget, overhead) for part in parts))
    return min(costs, default=0)


def some_lengths(kind: str, count: int) -> list[int]:
    generator = random.Random(1)
    match kind:
        case "short":
            drawn = [generator.gauss(14, 4) for _ in range(count)]
        case "documents":
            drawn = [generator.gauss(210, 25) for _ in range(count)]
        case _:
            # Median 40, 99 % below 512.
            drawn = [generator.lognormvariate(math.log(40), 1.096) for _ in range(count)]
    return [min(max(round(length), 3), 256) for length in drawn]


@given(COUNTS, BUDGET, OVERHEAD)
def test_no_other_cut_of_the_lengths_costs_less(
    counts: dict[int, int], budget: int, overhead: int
) -> None:
    cuts = cut_lengths(counts, max_tokens=budget, overhead_tokens=overhead)

    ascending = sorted(counts)
    parts = [
        [length for length in ascending if above < length <= to]
        for above, to in pairwise([0, *cuts])
    ]
    assert [length for part in parts for length in part] == ascending
    found = sum(part_cost(counts, part, budget, overhead) for part in parts)
    assert found == cheapest_by_trying_all(counts, budget, overhead)


@given(LENGTHS, BUDGET, OVERHEAD)
def test_every_input_is_in_one_batch_within_the_budget(
    lengths: list[int], budget: int, overhead: int
) -> None:
    batches = plan_batches(lengths, max_tokens=budget, overhead_tokens=overhead)

    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget


@given(LENGTHS, BUDGET, OVERHEAD)
def test_it_costs_no_more_than_each_length_by_itself(
    lengths: list[int], budget: int, overhead: int
) -> None:
    apart = sum(
        length * count + overhead * math.ceil(count / fitting(length, budget))
        for length in set(lengths)
        for count in [lengths.count(length)]
    )

    batches = plan_batches(lengths, max_tokens=budget, overhead_tokens=overhead)

    assert cost(batches, lengths, overhead) <= apart


@pytest.mark.parametrize(
    ("kind", "least"), [("short", 0.99), ("documents", 0.99), ("log-normal", 0.98)]
)
def test_hardly_anything_is_padded_on_a_cpu(kind: str, least: float) -> None:
    lengths = some_lengths(kind, 500)

    batches = plan_batches(lengths, max_tokens=512, overhead_tokens=16)

    assert useful(batches, lengths) >= least


def test_an_input_over_the_budget_stands_alone() -> None:
    batches = plan_batches([5, 600, 5], max_tokens=512, overhead_tokens=16)

    assert batches == [[1], [0, 2]]


def test_the_longest_batch_comes_first() -> None:
    batches = plan_batches([1, 200, 30], max_tokens=256, overhead_tokens=0)

    assert batches == [[1], [2], [0]]


def test_nothing_to_plan_gives_no_batches() -> None:
    assert plan_batches([], max_tokens=512, overhead_tokens=16) == []


def test_without_overhead_only_equal_lengths_share_a_batch() -> None:
    batches = plan_batches([7, 8, 7, 8], max_tokens=512, overhead_tokens=0)

    assert cost(batches, [7, 8, 7, 8], 0) == 30


def test_where_starting_costs_more_than_padding_all_share_a_batch() -> None:
    batches = plan_batches([10, 100, 50], max_tokens=512, overhead_tokens=500)

    assert batches == [[1, 2, 0]]
