"""Starts children again when they die."""

from __future__ import annotations

import time
from collections.abc import Callable

from embedpipe.local.process import Child


class Keeper:
    """Starts a child again when it dies, with a pause that doubles from 0.5 s to 30 s."""

    def __init__(
        self,
        child: Child,
        restart: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.child = child
        self._restart = restart
        self._clock = clock
        self._pause_s = 0.5
        self._due: float | None = None
        self._since = clock()

    def look(self) -> str | None:
        """Restart the child when it is due; give a line to log when something happened."""
        now = self._clock()
        if self._due is not None:
            if now < self._due:
                return None
            self._due = None
            self._since = now
            self._restart()
            return f"{self.child.name} started again"
        code = self.child.exit_code()
        if code is None:
            return None
        if now - self._since > 60:
            self._pause_s = 0.5
        self._due = now + self._pause_s
        line = f"{self.child.name} ended with {code}; starting it again in {self._pause_s:g} s"
        self._pause_s = min(30.0, self._pause_s * 2)
        return line
