"""What a run of `make alarms` expects of an alarm, over made-up minutes."""

from __future__ import annotations

import pytest

from tests.alarms.doubts import is_as_expected
from tests.alarms.faults import Fault
from tests.alarms.provoking import Span

FAULT = Fault("a fault", {"Expected": (2, 3)}, parts={"Part": (1, 1)}, also=frozenset({"Allowed"}))
#: Two healthy minutes; a fault of one minute and four more; two minutes in which it is mended.
SPANS = [Span(None, 1, 3, 2), Span(FAULT, 3, 8, 9)]


@pytest.mark.parametrize(
    ("alarm", "rings", "expected"),
    [
        ("Expected", {5, 6, 7, 8}, True),
        ("Expected", {6, 7}, True),
        ("Expected", set(), False),
        ("Expected", {4, 5, 6, 7}, False),
        ("Expected", {7}, False),
        ("Expected", {5, 6, 7, 8, 9}, False),
        ("Expected", {1, 5, 6, 7}, False),
        ("Allowed", {5}, True),
        ("Allowed", {2}, False),
        ("Another", set(), True),
        ("Another", {5}, False),
    ],
)
def test_an_alarm_rings_when_it_should_and_is_over_afterwards(
    alarm: str, rings: set[int], expected: bool
) -> None:
    ringing = {minute: minute in rings for minute in range(1, 10)}

    assert is_as_expected(alarm, SPANS, ringing) is expected


@pytest.mark.parametrize(
    ("rings", "expected"),
    [({4, 5, 6, 7, 8, 9}, True), ({2, 4}, True), ({5}, False), (set(), False)],
)
def test_a_part_rings_when_it_should_and_may_go_on(rings: set[int], expected: bool) -> None:
    ringing = {minute: minute in rings for minute in range(1, 10)}

    assert is_as_expected("Part", SPANS, ringing, is_part=True) is expected
