"""Upkeep: the parts of a maintenance run, each with its share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from embedpipe.errors import TransientError

#: Asked by a part between two of its steps: whether there is time for another.
HasTime = Callable[[], bool]
Counts = Mapping[str, int]
Part = Callable[[HasTime], Counts]


@dataclass
class Upkeep:
    """What a run did, and which parts failed with what."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)


def run_parts(
    parts: Mapping[str, Part],
    *,
    left_s: Callable[[], float],
    clock: Callable[[], float] = time.monotonic,
) -> Upkeep:
    """Run parts one after another; one that fails does not keep the others from running.

    Each may use its share of the time that is left when it begins: what earlier ones did not need
    is shared by those after them. Without any time left a part is left to the next run.

    Parameters
    ----------
    left_s
        Seconds that are left of the invocation, a reserve taken off.
    """
    done = Upkeep()
    for number, (name, part) in enumerate(parts.items()):
        share_s = left_s() / (len(parts) - number)
        if share_s <= 0:
            done.failures[name] = TransientError("no time was left", code="NO_TIME_LEFT")
            continue
        until = clock() + share_s
        try:
            done.counts |= part(lambda until=until: clock() < until)  # type: ignore[misc]
        # Whatever it is, the other parts run.
        except Exception as error:  # noqa: BLE001
            done.failures[name] = error
    return done
