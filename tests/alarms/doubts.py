"""Whether a run would have found an alarm that is not what it should be.

Each alarm is changed, and evaluated once more over the very series that the run gave: with a
threshold that is harder to reach, and with one period more to wait for. What is expected does not
change, so at least one of the changes must be found: else the run says nothing about the alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

from tests.alarms.definitions import Alarm, Composite
from tests.alarms.evaluation import State
from tests.alarms.provoking import Provoking, Span

#: How much harder to reach, until it is found.
FACTORS = (1.1, 2.0, 20.0, 1000.0)


@dataclass(frozen=True)
class Doubt:
    """What of one alarm would have been found.

    Attributes
    ----------
    factor
        The least of `FACTORS`; None: of none.
    is_period_found
        Whether one period more would.
    """

    alarm: str
    factor: float | None
    is_period_found: bool

    @property
    def is_cleared(self) -> bool:
        """Whether the run can tell the alarm from a wrong one."""
        return self.factor is not None or self.is_period_found


def doubts(run: Provoking) -> Iterator[Doubt]:
    """Change every alarm in turn."""
    for alarm in run.alarms.alarms:
        assert not _is_found(run, _changed(alarm)), f"{alarm.name} as it is"
        factors = (one for one in FACTORS if _is_found(run, _changed(alarm, factor=one)))
        yield Doubt(alarm.name, next(factors, None), _is_found(run, _changed(alarm, periods=1)))


def is_as_expected(
    name: str, spans: list[Span], ringing: Mapping[int, bool], *, is_part: bool = False
) -> bool:
    """Say whether an alarm that rings in these minutes rang when it should."""
    is_right = _is_part_right if is_part else _is_right
    return all(is_right(name, span, ringing) for span in spans)


def _is_right(name: str, span: Span, ringing: Mapping[int, bool]) -> bool:
    rings = _rings(span, ringing)
    expected = span.fault.expected.get(name) if span.fault else None
    if expected is None:
        return not rings or (span.fault is not None and name in span.fault.also)
    is_over = not all(ringing[minute] for minute in range(span.mended, span.last + 1))
    return bool(rings) and expected[0] <= rings[0] <= expected[1] and is_over


def _is_part_right(name: str, span: Span, ringing: Mapping[int, bool]) -> bool:
    rings = _rings(span, ringing)
    expected = span.fault.parts.get(name) if span.fault else None
    return expected is None or (bool(rings) and expected[0] <= rings[0] <= expected[1])


def _rings(span: Span, ringing: Mapping[int, bool]) -> list[int]:
    return [minute - span.first for minute in range(span.first, span.mended) if ringing[minute]]


def _changed(alarm: Alarm, *, factor: float = 1.0, periods: int = 0) -> Alarm:
    properties = dict(deepcopy(alarm.properties))
    is_upper = properties["ComparisonOperator"].startswith("Greater")
    threshold = float(properties["Threshold"])
    properties["Threshold"] = threshold * factor if is_upper else threshold / factor
    properties["EvaluationPeriods"] = int(properties["EvaluationPeriods"]) + periods
    return Alarm(alarm.name, properties)


def _is_found(run: Provoking, alarm: Alarm) -> bool:
    """Evaluate it minute by minute; say whether it or what is made of it is not as expected."""
    named = [one for one in run.alarms.composites if f'"{alarm.name}"' in one.rule]
    told: list[Alarm | Composite] = [Composite(one.name, one.rule) for one in named]
    told.append(alarm)
    ringing: dict[str, dict[int, bool]] = {one.name: {} for one in told}
    samples = run.pipeline.samples
    now = samples.now
    for minute, states in run.history.items():
        samples.now = minute
        alarm.look(samples)
        for one in told:
            if isinstance(one, Composite):
                one.look(states | {alarm.name: alarm.state})
            ringing[one.name][minute] = one.state is State.ALARM
    samples.now = now
    parts = {alarm.name} if named else set()
    return not all(
        is_as_expected(name, run.spans, ringing[name], is_part=name in parts) for name in ringing
    )
