from __future__ import annotations

from collections import Counter

from embedpipe.domain.fairness import Turns
from hypothesis import given
from hypothesis import strategies as st

WEIGHTS = {"high": 6.0, "normal": 3.0, "low": 1.0}


def some_turns(*keys: str, weights: dict[str, float] | None = None) -> Turns[str]:
    turns: Turns[str] = Turns(weights)
    for key in keys:
        turns.enter(key)
    return turns


def test_service_is_shared_by_weight() -> None:
    turns = some_turns("high", "normal", "low", weights=WEIGHTS)
    had: Counter[str] = Counter()

    for _ in range(1000):
        key = turns.next(WEIGHTS)
        turns.serve(key, 100)
        had[key] += 100

    assert [round(had[key] / 10_000, 1) for key in WEIGHTS] == [6.0, 3.0, 1.0]


def test_whoever_asks_for_more_at_a_time_has_fewer_turns() -> None:
    turns = some_turns("large", "small")
    sizes, had = {"large": 250, "small": 10}, Counter[str]()

    for _ in range(500):
        key = turns.next(sizes)
        turns.serve(key, sizes[key])
        had[key] += sizes[key]

    assert abs(had["large"] - had["small"]) <= 250


def test_a_newcomer_is_next_however_much_others_had() -> None:
    turns = some_turns("old")
    for _ in range(100):
        turns.serve(turns.next(["old"]), 512)

    turns.enter("new")

    assert turns.next(["old", "new"]) == "new"


def test_being_away_earns_nothing() -> None:
    turns = some_turns("away", "here")
    turns.leave("away")
    for _ in range(100):
        turns.serve(turns.next(["here"]), 100)

    turns.enter("away")
    order = []
    for _ in range(20):
        order.append(turns.next(["away", "here"]))
        turns.serve(order[-1], 100)

    assert abs(order.count("away") - order.count("here")) <= 2


def test_what_somebody_had_out_of_turn_is_paid_back_even_after_leaving() -> None:
    turns = some_turns("lucky", "other")
    turns.next(["other"])
    turns.serve("lucky", 500)
    turns.leave("lucky")

    turns.enter("lucky")
    order = []
    for _ in range(6):
        order.append(turns.next(["lucky", "other"]))
        turns.serve(order[-1], 100)

    assert order == ["other"] * 5 + ["lucky"]


def test_what_is_set_aside_counts_as_served_for_what_is_set_aside_next() -> None:
    turns = some_turns("one", "two")
    order = []
    for _ in range(4):
        order.append(min(["one", "two"], key=turns.standing))
        turns.reserve(order[-1], 100)

    assert order == ["one", "two", "one", "two"]
    assert turns.next(["two"]) == "two"


def test_those_who_came_once_are_forgotten() -> None:
    turns = some_turns("always")
    for number in range(5000):
        turns.enter(f"once-{number}")
        turns.serve(turns.next([f"once-{number}"]), 10)
        turns.leave(f"once-{number}")
        turns.serve(turns.next(["always"]), 10)

    assert len(turns._had) < 1100


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 300)), max_size=200))
def test_nobody_who_waits_is_behind_another_by_more_than_the_largest_amount(
    asked: list[tuple[str, int]],
) -> None:
    turns, had = some_turns(*"abcd"), Counter[str]()
    sizes = dict.fromkeys("abcd", 1) | dict(asked)

    for _ in range(200):
        key = turns.next(sizes)
        turns.serve(key, sizes[key])
        had[key] += sizes[key]

    assert max(had.values()) - min(had[key] for key in "abcd") <= max(sizes.values())
