"""The states of alarms, against the tables of the CloudWatch User Guide."""

from __future__ import annotations

import pytest

from tests.alarms.evaluation import State, state

OK, ALARM, NO_DATA = State.OK, State.ALARM, State.INSUFFICIENT_DATA
#: What the tables call "Retain current state".
RETAIN = None
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
#: Datapoints to alarm 3, evaluation periods 3, evaluation range 5.
THREE_OF_THREE = {
    "0 - X - X": (OK, OK, OK, OK),
    "0 - - - -": (OK, OK, OK, OK),
    "- - - - -": (NO_DATA, RETAIN, ALARM, OK),
    "0 X X - X": (ALARM, ALARM, ALARM, ALARM),
    "- - X - -": (ALARM, RETAIN, ALARM, OK),
}
#: Datapoints to alarm 2, evaluation periods 3, evaluation range 5.
TWO_OF_THREE = {
    "0 - X - X": (ALARM, ALARM, ALARM, ALARM),
    "0 0 X 0 X": (ALARM, ALARM, ALARM, ALARM),
    "0 - X - -": (OK, OK, ALARM, OK),
    "- - - - 0": (OK, OK, ALARM, OK),
    "- - - X -": (ALARM, RETAIN, ALARM, OK),
}
ROWS = [
    (points, to_alarm, missing, row[column])
    for to_alarm, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
    for points, row in table.items()
    for column, missing in enumerate(TREATMENTS)
]


@pytest.mark.parametrize("now", [OK, ALARM])
@pytest.mark.parametrize(("points", "to_alarm", "missing", "expected"), ROWS)
def test_missing_data_is_treated_as_documented(
    points: str, to_alarm: int, missing: str, expected: State | None, now: State
) -> None:
    marks = {"0": False, "X": True, "-": None}

    found = state(
        [marks[mark] for mark in points.split()],
        periods=3,
        to_alarm=to_alarm,
        missing=missing,
        now=now,
    )

    assert found == (now if expected is RETAIN else expected)


@pytest.mark.parametrize("points", ["- - - - X", "- - - X -"])
def test_one_late_breach_is_no_alarm_yet(points: str) -> None:
    marks = {"X": True, "-": None}

    found = state(
        [marks[mark] for mark in points.split()], periods=3, to_alarm=3, missing="missing", now=OK
    )

    assert found is OK


def test_three_of_three_rings_at_the_third_and_clears_at_the_first_good_one() -> None:
    values = [1, 1, 4, 5, 6, 2, 1, 1, 7, 1]  # the threshold is 3

    states, now = [], OK
    for end in range(1, len(values) + 1):
        points = [value > 3 for value in values[max(0, end - 5) : end]]
        now = state(points, periods=3, to_alarm=3, missing="missing", now=now)
        states.append(now)

    assert [number for number, one in enumerate(states, 1) if one is ALARM] == [5]
