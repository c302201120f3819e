"""Stage controls: what an operator lets a stage do, and when a stage has run empty."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: The door: documents are admitted by the API, from no queue.
SUBMIT = "submit"
#: What works through queues, in the order of the pipeline.
STAGES = ("chunk", "embed", "store")
#: All that has a control, in the order of the pipeline.
CONTROLLED = (SUBMIT, *STAGES)

#: A drain is looked at this long after it began: by then everybody has read of it.
SETTLED_S = 5.0


class StageState(StrEnum):
    """What a stage is let do."""

    #: It works.
    RUNNING = "running"
    #: It receives nothing, and finishes what it holds. `submit`: nothing is admitted.
    PAUSED = "paused"
    #: It works, and nothing is admitted, so that it and those before it run empty.
    DRAINING = "draining"


class ControlAction(StrEnum):
    """What an operator does to a stage; the last act holds, whatever was before."""

    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"

    @property
    def state(self) -> StageState:
        """The state that it leads to."""
        return _STATES[self]


_STATES = {
    ControlAction.PAUSE: StageState.PAUSED,
    ControlAction.RESUME: StageState.RUNNING,
    ControlAction.DRAIN: StageState.DRAINING,
}


@dataclass(frozen=True)
class Control:
    """The control of one stage, and who set it when and why.

    Attributes
    ----------
    for_s
        How long it has been so, by the database's clock.
    """

    stage: str
    state: StageState = StageState.RUNNING
    changed_by: str = ""
    changed_at: datetime | None = None
    note: str = ""
    for_s: float = 0.0


class Closed(StrEnum):
    """Why nothing is admitted; the value is the code of the answer."""

    PAUSED = "PAUSED"
    DRAINING = "DRAINING"


def admission(controls: Iterable[tuple[str, StageState]]) -> Closed | None:
    """Say why nothing is admitted; None when documents are.

    Examples
    --------
    >>> admission([("submit", StageState.RUNNING), ("embed", StageState.PAUSED)])
    >>> admission([("submit", StageState.RUNNING), ("embed", StageState.DRAINING)])
    <Closed.DRAINING: 'DRAINING'>
    >>> admission([("submit", StageState.PAUSED), ("embed", StageState.DRAINING)])
    <Closed.PAUSED: 'PAUSED'>
    """
    states = dict(controls)
    if states.get(SUBMIT) is StageState.PAUSED:
        return Closed.PAUSED
    return Closed.DRAINING if StageState.DRAINING in states.values() else None


def drained(controls: Iterable[Control], busy: Collection[str]) -> set[str]:
    """Name the draining stages that have run empty, they and all before them.

    Parameters
    ----------
    busy
        Those that have messages, rows in the outbox, or jobs.

    Examples
    --------
    >>> draining = Control("embed", StageState.DRAINING, for_s=60)
    >>> drained([draining], busy={"store"}), drained([draining], busy={"chunk"})
    ({'embed'}, set())
    """
    return {
        control.stage
        for control in controls
        if control.state is StageState.DRAINING
        and control.for_s >= SETTLED_S
        and not any(stage in busy for stage in upto(control.stage))
    }


def upto(stage: str) -> tuple[str, ...]:
    """Give a stage and those before it.

    Examples
    --------
    >>> upto("embed")
    ('submit', 'chunk', 'embed')
    """
    return CONTROLLED[: CONTROLLED.index(stage) + 1]
