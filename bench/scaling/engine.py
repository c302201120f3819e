"""Time that passes by events, and servers that work off a line."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

Event = Callable[[], None]


class Clock:
    """Runs events in the order of their times; those of the same time in the order of asking."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Event]] = []
        self._number = count()

    def after(self, delay_s: float, event: Event) -> None:
        """Have something happen later."""
        heapq.heappush(self._events, (self.now + delay_s, next(self._number), event))

    def every(self, period_s: float, event: Event) -> None:
        """Have something happen again and again, first a period from now."""

        def again() -> None:
            event()
            self.after(period_s, again)

        self.after(period_s, again)

    def run(self, *, until_s: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until then, or until it is done."""
        while self._events and self._events[0][0] <= until_s and not done():
            self.now, _, event = heapq.heappop(self._events)
            event()


class Servers:
    """So many servers with one line: processors, say.

    Parameters
    ----------
    count
        None for as many as are needed.
    """

    def __init__(self, clock: Clock, count: int | None) -> None:
        self.busy_s = 0.0
        self._clock = clock
        self._free = count
        self._line: deque[tuple[float, Event]] = deque()

    def use(self, seconds: float, then: Event) -> None:
        """Take a server for a time as soon as one is free."""
        if self._free == 0:
            self._line.append((seconds, then))
            return
        self._start(seconds, then)

    def _start(self, seconds: float, then: Event) -> None:
        if self._free is not None:
            self._free -= 1
        self.busy_s += seconds

        def end() -> None:
            if self._free is not None:
                self._free += 1
            if self._line and self._free != 0:
                self._start(*self._line.popleft())
            then()

        self._clock.after(seconds, end)
