"""The time of the plan: real time while the pipeline keeps up, slower while it is far behind.

On a slow machine a run so takes longer, instead of breaking things faster than anybody works. How
much breaks for each document stays what the plan says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: With so many jobs open time runs as usual, with so many at a tenth.
CALM, FLOODED = 150, 450
SLOWEST = 0.1
_LOOK_S = 1.0
_GLANCE_S = 0.25


def speed(open_jobs: int) -> float:
    """Give how fast the plan's time runs.

    Examples
    --------
    >>> speed(10), speed(300), speed(5000)
    (1.0, 0.5, 0.1)
    """
    return min(1.0, max(SLOWEST, (FLOODED - open_jobs) / (FLOODED - CALM)))


class Clock:
    """Plan seconds. Threads may share it."""

    def __init__(
        self,
        open_jobs: Callable[[], int | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_jobs = open_jobs
        self._clock = clock
        self._lock = threading.Lock()
        self._speed = 0.0
        self._at_s = 0.0
        self._since = clock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def start(self) -> None:
        """Begin at zero."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def now(self) -> float:
        """Give the plan's time."""
        with self._lock:
            return self._at_s + (self._clock() - self._since) * self._speed

    def wait_until(self, at_s: float, stopping: threading.Event) -> bool:
        """Wait for a time of the plan; True when it is not worth to wait any more."""
        while (left_s := at_s - self.now()) > 0:
            if stopping.wait(min(_GLANCE_S, left_s)):
                return True
        return stopping.is_set()

    def look(self) -> None:
        """Ask how far behind the pipeline is; without an answer nothing changes."""
        count = self._open_jobs()
        wanted = self._speed or 1.0 if count is None else speed(count)
        with self._lock:
            now = self._clock()
            self._at_s += (now - self._since) * self._speed
            self._since, self._speed = now, wanted

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            self.look()
