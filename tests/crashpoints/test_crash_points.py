"""Whatever a handler is doing when its process dies, nothing is lost, nothing is done twice."""

from __future__ import annotations

import pytest

from tests.crashpoints.explore import Explored, crash_everywhere
from tests.crashpoints.scenarios import Scenario, all_scenarios
from tests.crashpoints.world import World

SCENARIOS = all_scenarios()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_process_may_die_at_any_point(
    world: World, scenario: Scenario, explored: dict[str, list[Explored]]
) -> None:
    result = crash_everywhere(world, scenario)
    explored["points"].append(result)

    assert result.points > 0
    assert result.wrong == []


def test_there_are_many_points(explored: dict[str, list[Explored]]) -> None:
    rows = explored["points"]
    if len(rows) < len(SCENARIOS):
        pytest.skip("only some scenarios ran")

    assert sum(row.points for row in rows) >= 600
