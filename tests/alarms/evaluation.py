"""From data points to the state of an alarm, as AWS documents it.

Source: Amazon CloudWatch User Guide, "Configuring how CloudWatch alarms treat missing data" and
"Avoiding premature transitions to alarm state". How far CloudWatch looks back beyond the evaluation
periods is not documented; its examples look at 5 points for 3 periods, and so two more are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

#: Points that are looked at beyond the evaluation periods, in case that some are missing.
EXTRA_POINTS = 2


class State(StrEnum):
    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


def state(
    points: Sequence[bool | None], *, periods: int, to_alarm: int, missing: str, now: State
) -> State:
    """Give the state that an alarm takes.

    Parameters
    ----------
    points
        Whether each breaches, the newest last; None where there is no data.
    periods, to_alarm
        EvaluationPeriods and DatapointsToAlarm.
    missing
        TreatMissingData.
    now
        The state that it has.
    """
    real = [point for point in points if point is not None]
    if len(real) >= periods:
        return _of(sum(real[-periods:]) >= to_alarm)
    if missing in ("breaching", "notBreaching"):
        filled = periods - len(real) if missing == "breaching" else 0
        return _of(sum(real) + filled >= to_alarm)
    if not real:
        return State.INSUFFICIENT_DATA if missing == "missing" else now
    if sum(real) >= to_alarm:
        return State.ALARM
    if not all(real):
        return State.OK
    oldest = len(points) - points.index(True)
    return State.ALARM if missing == "missing" and oldest >= to_alarm else now


def _of(is_breaching: bool) -> State:
    return State.ALARM if is_breaching else State.OK
