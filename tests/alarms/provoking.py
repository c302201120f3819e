"""Faults in turn, minute by minute, and what became of every alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.alarms.causes import healthy, nothing
from tests.alarms.definitions import Alarms
from tests.alarms.evaluation import State
from tests.alarms.faults import Fault
from tests.alarms.pipeline import Pipeline

#: Enough for what looks back over half an hour to have something to compare with.
HEALTHY_MINUTES = 20
#: What looks back longest, over 15 minutes, is quiet after so many.
RECOVERY_MINUTES = 25
MINUTES_OF_AN_HOUR = 60


@dataclass(frozen=True)
class Row:
    """One alarm under one fault."""

    alarm: str
    fault: str
    expected: tuple[int, int] | None
    seen: int | None
    cleared_after: int | None
    is_part: bool = False

    @property
    def is_right(self) -> bool:
        """Whether it rang when it should, if ever, and was over afterwards.

        A part may go on: an hour holds what there was in it.
        """
        if self.expected is None:
            return self.seen is None
        first, last = self.expected
        is_over = self.is_part or bool(self.cleared_after)
        return self.seen is not None and first <= self.seen <= last and is_over


@dataclass(frozen=True)
class Span:
    """Minutes that belong together, by their numbers: the first, the first mended one, the last.

    Of no fault are those in which nothing may ring.
    """

    fault: Fault | None
    first: int
    mended: int
    last: int


@dataclass
class Provoking:
    """One run over all faults."""

    pipeline: Pipeline
    alarms: Alarms
    healthy_minutes: int = HEALTHY_MINUTES
    tell: Callable[[str], None] = lambda _text: None
    rows: list[Row] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    history: dict[int, dict[str, State]] = field(default_factory=dict)

    def rest(self) -> None:
        """Let healthy minutes pass, in which nothing may ring."""
        self._pass(self.healthy_minutes, "healthy", healthy)

    def provoke(self, fault: Fault) -> None:
        """Break something, mend it, and write down what each alarm did."""
        seen: dict[str, int] = {}
        if fault.is_after_quiet:
            self._pass(MINUTES_OF_AN_HOUR, "quiet", nothing)
        began = self._now + 1
        self._note(seen, 0, self._minute(fault.begin, is_measured=fault.is_measured))
        for minute in range(1, fault.most_minutes + 1):
            ringing = self._minute(
                lambda pipeline, minute=minute: fault.during(pipeline, minute),  # type: ignore[misc]
                is_measured=fault.is_measured,
            )
            self._note(seen, minute, ringing)
            if set(fault.expected) <= set(seen) and minute >= fault.least_minutes:
                break
        mended = self._now + 1
        cleared = self._recover(fault, seen)
        self.spans.append(Span(fault, began, mended, self._now))
        for name, expected in (fault.expected | dict.fromkeys(fault.quiet)).items():
            self.rows.append(Row(name, fault.name, expected, seen.get(name), cleared.get(name)))
        for name, expected in fault.parts.items():
            self.rows.append(
                Row(name, fault.name, expected, self._first(name, began, mended), None, True)
            )
        for name in sorted(set(seen) - set(fault.expected) - fault.also - fault.quiet):
            self.wrong.append(f"{name} rings, too: {fault.name}")
        self.wrong += [
            f"{row.alarm} is not as expected: {row.fault}"
            for row in self.rows
            if row.fault == fault.name and not row.is_right
        ]

    @property
    def _now(self) -> int:
        return self.pipeline.samples.now

    def _pass(self, minutes: int, kind: str, act: Callable[[Pipeline], None]) -> None:
        began = self._now + 1
        for number in range(1, minutes + 1):
            for name in self._minute(act):
                self.wrong.append(f"{name} rings in {kind} minute {number}")
        self.spans.append(Span(None, began, self._now + 1, self._now))

    def never_rang(self) -> set[str]:
        """Name the alarms that tell somebody and that no fault was for."""
        names = {alarm.name for alarm in self.alarms.alarms} - self.alarms.parts()
        names |= {alarm.name for alarm in self.alarms.composites}
        return names - {row.alarm for row in self.rows if row.expected is not None}

    def _recover(self, fault: Fault, seen: dict[str, int]) -> dict[str, int]:
        cleared: dict[str, int] = {}
        fault.mend(self.pipeline)
        for minute in range(1, RECOVERY_MINUTES + 1):
            ringing = self._minute(healthy)
            for name in set(seen) - ringing - set(cleared):
                cleared[name] = minute
            if not ringing:
                break
        return cleared

    def _first(self, name: str, began: int, mended: int) -> int | None:
        minutes = range(began, mended)
        ringing = (one - began for one in minutes if self.history[one][name] is State.ALARM)
        return next(ringing, None)

    @staticmethod
    def _note(seen: dict[str, int], minute: int, ringing: Iterable[str]) -> None:
        for name in ringing:
            seen.setdefault(name, minute)

    def _minute(self, act: Callable[[Pipeline], None], *, is_measured: bool = True) -> set[str]:
        """Let one pass; give what tells somebody in it."""
        act(self.pipeline)
        self.pipeline.measure(maintenance=is_measured)
        states = self.alarms.look(self.pipeline.samples)
        self.history[self._now] = states
        ringing = {name for name, one in states.items() if one is State.ALARM}
        self.tell(f"minute {self._now}: {' '.join(sorted(ringing))}")
        return ringing - self.alarms.parts()
