"""The thread that sends results and settles messages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.outage import Outage
from embedpipe.worker.settlement import Settlement

# A result that cannot be sent for so long is given up; its message comes back.
_KEEP_S = 900.0
_STOPPING_PAUSE_S = 0.5


class Sender:
    """Takes decided messages to their end. `put` is every thread's, the rest one thread's.

    A failed call leaves its messages where they are, to be tried again with growing pauses: work
    that is computed is not lost to an outage.
    """

    def __init__(self, context: Context) -> None:
        self._settlement = Settlement(context)
        self._outages = context.outages
        self._clock = context.clock
        self._decided: SimpleQueue[Held | float] = SimpleQueue()
        self._open: list[Held] = []
        self._is_closed = False
        self._until = math.inf
        self._not_before = 0.0

    def put(self, held: Held) -> None:
        """Take over a message whose outcome is decided."""
        held.decided_at = self._clock()
        self._decided.put(held)

    def close(self, until: float) -> None:
        """End the loop once everything is settled.

        Parameters
        ----------
        until
            When, by `time.monotonic`, to hand back what still cannot be sent or settled.
        """
        self._decided.put(until)

    def loop(self) -> None:
        """Settle what comes until closed and nothing is open."""
        while not (self._is_closed and not self._open):
            self._collect(self._pause_s())
            if self._open and time.monotonic() >= self._not_before:
                self._not_before = time.monotonic() + self._settle()

    def step(self) -> bool:
        """Settle what is decided, in this thread; False when nothing came to its end."""
        self._collect(0.0)
        before = len(self._open)
        self._settle()
        return len(self._open) < before

    def _pause_s(self) -> float | None:
        if not self._open:
            return None
        pause_s = max(self._not_before - time.monotonic(), 0.0)
        return min(pause_s, _STOPPING_PAUSE_S) if self._is_closed else pause_s

    def _collect(self, wait_s: float | None) -> None:
        try:
            if wait_s is None or wait_s > 0:
                self._take(self._decided.get(timeout=wait_s))
            while True:
                self._take(self._decided.get_nowait())
        except Empty:
            return

    def _take(self, item: Held | float) -> None:
        if isinstance(item, Held):
            self._open.append(item)
        else:
            self._is_closed, self._until = True, item
            self._not_before = 0.0

    def _settle(self) -> float:
        """Try everything once; give the seconds to wait before the next try."""
        settlement, outages = self._settlement, self._outages
        pause_s = max(
            self._try(outages.send, settlement.send, Outcome.SEND),
            self._try(outages.settle, settlement.fail, Outcome.FAIL),
            self._try(outages.ack, settlement.ack, Outcome.ACK),
        )
        self._give_up()
        pause_s = max(pause_s, self._try(outages.ack, settlement.release, Outcome.RELEASE))
        self._open = [held for held in self._open if held.outcome is not Outcome.SETTLED]
        return min(pause_s, _STOPPING_PAUSE_S) if self._is_closed else pause_s

    def _try(
        self, outage: Outage, action: Callable[[Sequence[Held]], None], outcome: Outcome
    ) -> float:
        ready = [held for held in self._open if held.outcome is outcome]
        if not ready:
            return 0.0
        try:
            action(ready)
        except Exception as error:  # noqa: BLE001
            return outage.failed(error)
        outage.answered()
        return 0.0

    def _give_up(self) -> None:
        oldest = math.inf if time.monotonic() >= self._until else self._clock() - _KEEP_S
        for held in self._open:
            if held.outcome in {Outcome.SEND, Outcome.FAIL} and held.decided_at < oldest:
                held.outcome = Outcome.RELEASE
