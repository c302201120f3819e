"""Whatever happens to a document at the same time, in whatever order, it comes to one good end."""

from __future__ import annotations

import pytest

from tests.crashpoints.explore import Explored
from tests.crashpoints.interleave import interleave, pairs
from tests.crashpoints.world import World

PAIRS = pairs()


@pytest.mark.parametrize(("first", "second", "scene"), PAIRS)
def test_two_at_once_come_to_one_good_end(
    world: World, first: str, second: str, scene: str, explored: dict[str, list[Explored]]
) -> None:
    result = interleave(world, first, second, scene)
    explored["schedules"].append(result)

    assert result.points > 0
    assert result.wrong == []


def test_there_are_many_schedules(explored: dict[str, list[Explored]]) -> None:
    rows = explored["schedules"]
    if len(rows) < len(PAIRS):
        pytest.skip("only some pairs ran")

    assert sum(row.runs for row in rows) >= 1200
