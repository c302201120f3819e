"""Metric math, against the examples of the CloudWatch User Guide."""

from __future__ import annotations

import pytest

from tests.alarms.metric_math import Series, evaluate

ONE: Series = [30, 20, 0, 0]
OTHER: Series = [20, None, 20, None]
CONDITION: Series = [1, 1, 0, 0, None]
WHEN_TRUE: Series = [30, None, 0, 0, 30]
WHEN_FALSE: Series = [0, 0, 20, None, 20]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("one < other", [0, 0, 1, 0]),
        ("one >= 30", [1, 0, 0, 0]),
        ("one > 15 AND other > 15", [1, 0, 0, 0]),
        ("one + other", [50, 20, 20, 0]),
        ("one / other", [1.5, None, 0, None]),
        ("100 / one", [100 / 30, 5, None, None]),
        ("FILL(other, 7)", [20, 7, 20, 7]),
        ("DIFF(one)", [None, -10, -20, 0]),
        ("DIFF(other)", [None, None, 0, None]),
        ("one / PERIOD(one)", [0.5, 1 / 3, 0, 0]),
    ],
)
def test_operators_and_functions(expression: str, expected: Series) -> None:
    assert evaluate(expression, {"one": ONE, "other": OTHER}, 60) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("IF(a, b, c)", [30, 0, 20, None, None]),
        ("IF(a, 5, c)", [5, 5, 20, None, None]),
        ("IF(a, b, 5)", [30, 0, 5, 5, None]),
    ],
)
def test_a_choice_treats_what_is_missing_as_documented(expression: str, expected: Series) -> None:
    assert evaluate(expression, {"a": CONDITION, "b": WHEN_TRUE, "c": WHEN_FALSE}, 60) == expected


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(KeyError):
        evaluate("RUNNING_SUM(one)", {"one": ONE}, 60)
