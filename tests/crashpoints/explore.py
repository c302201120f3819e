"""Stops an act at every point that it has, and looks at what comes of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.crashpoints.process import Process, When, killed
from tests.crashpoints.scenarios import Scenario
from tests.crashpoints.world import VISIBILITY_S, World
from tests.invariants import as_table

#: One in so many runs is killed again while it recovers.
TWICE_IN = 3
#: What is wrong more often is wrong in the same way.
ENOUGH = 3


@dataclass
class Explored:
    """What came of one scenario, a row of the table."""

    name: str
    points: int = 0
    runs: int = 0
    wrong: list[str] = field(default_factory=list)


def crash_everywhere(world: World, scenario: Scenario) -> Explored:
    """Let the process die before and after everything it does.

    Nothing is left of a process but what it did outside: dying after one call is dying before the
    next one, and dying around the setting of a transaction's tenant is dying before or after it.
    So one run stands for several points.
    """
    names = unharmed(world, scenario)
    explored = Explored(scenario.name, points=2 * len(names))
    points: list[tuple[int, When]] = [
        (at, "before") for at, name in enumerate(names, 1) if not name.startswith("sessions.")
    ]
    for number, (at, when) in enumerate([*points, (len(names), "after")]):
        if len(explored.wrong) >= ENOUGH:
            break
        for is_again in (False, True) if number % TWICE_IN == 0 else (False,):
            world.restore("scene")
            _crash(world, scenario, at, when, is_again=is_again)
            explored.runs += 1
            if wrong := judge(world, scenario):
                again = ", and once more" if is_again else ""
                explored.wrong.append(f"{when} {at} ({names[at - 1]}){again}: {wrong}")
    return explored


def unharmed(world: World, scenario: Scenario) -> list[str]:
    """Bring the situation about and run the act to its end; give the points that it has."""
    world.restore("blank")
    scenario.prepare(world)
    world.save("scene")
    process = Process()
    with killed():
        scenario.act(world, process)
    world.settle()
    wrong = judge(world, scenario)
    assert not wrong, f"{scenario.name}, unharmed: {wrong}"
    return process.points


def _crash(world: World, scenario: Scenario, at: int, when: When, *, is_again: bool) -> None:
    process = Process(die_at=at, when=when)
    with killed():
        scenario.act(world, process)
    if is_again:
        # Whoever takes over dies as well, somewhere.
        world.pass_time(VISIBILITY_S + 1)
        with killed():
            scenario.act(world, Process(die_at=random.Random(at).randrange(1, 12)))
    if scenario.is_asked and process.is_dead:
        scenario.act(world, Process())
    world.settle()


def judge(world: World, scenario: Scenario) -> str:
    """Say what is wrong now that all is quiet; nothing when all is well."""
    wrong = []
    if found := world.found():
        wrong.append(as_table(found))
    statuses = world.statuses()
    if statuses != scenario.expected:
        wrong.append(f"jobs: {statuses}, and not {scenario.expected}")
    if (rescued := world.rescued()) and not scenario.is_lost:
        wrong.append(f"messages were lost, and these jobs rescued: {rescued}")
    if world.failed_parts:
        wrong.append(f"parts of maintenance failed: {world.failed_parts}")
    if unmirrored := world.unmirrored():
        wrong.append(f"dead letters and entries: {unmirrored}")
    if scenario.epochs and (epochs := world.epochs()) != scenario.epochs:
        wrong.append(f"epochs: {epochs}, and not {scenario.epochs}")
    dead = frozenset(stage for stage, queue in world.dlqs.items() if queue.peek())
    if dead - scenario.may_hold != scenario.dlq - scenario.may_hold:
        wrong.append(f"dead letters: {sorted(dead)}, and not {sorted(scenario.dlq)}")
    return "; ".join(wrong)


def table(rows: Iterable[Explored], *, counted: str = "points") -> Sequence[str]:
    """Print what came of scenarios."""
    rows = list(rows)
    width = max([len(row.name) for row in rows], default=0)
    lines = [f"{'':{width}}  {counted:>7}  runs  violations"]
    lines += [
        f"{row.name:{width}}  {row.points:7}  {row.runs:4}  {len(row.wrong):10}" for row in rows
    ]
    total = Explored("all")
    for row in rows:
        total.points, total.runs = total.points + row.points, total.runs + row.runs
        total.wrong += row.wrong
    lines.append(f"{total.name:{width}}  {total.points:7}  {total.runs:4}  {len(total.wrong):10}")
    return lines
