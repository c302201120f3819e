"""The thread that sends results and settles messages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue

from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.outage import Outage
from embedpipe.worker.settlement import Settlement

# A result that cannot be sent for so long is given up; its message comes back.
_KEEP_S = 900.0
_SHORT_PAUSE_S = 0.5
# So many are settled before others have their turn: results do not wait for a thousand failures,
# each of which takes calls of its own, nor at a stop for all that is handed back.
_AT_ONCE = {Outcome.SEND: 100, Outcome.FAIL: 10, Outcome.ACK: 100, Outcome.RELEASE: 100}

# Results go to one queue; the rest is settled on the queue of its lane.
_Kind = tuple[Outcome, str]


class Sender:
    """Takes decided messages to their end. `put` is every thread's, the rest one thread's.

    A failed call leaves its messages where they are, to be tried again with growing pauses, each
    kind of call and each lane by itself: work that is computed is not lost to an outage, nor kept
    by another's.
    """

    def __init__(self, context: Context) -> None:
        self._settlement = Settlement(context)
        self._outages = context.outages
        self._clock = context.clock
        self._decided: SimpleQueue[Held | float] = SimpleQueue()
        self._open: list[Held] = []
        self._is_closed = False
        self._until = math.inf
        self._not_before: dict[_Kind, float] = {}

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
            self._settle(time.monotonic())

    def step(self) -> bool:
        """Settle what is decided, in this thread; False when nothing came to its end."""
        self._collect(0.0)
        before = len(self._open)
        self._settle(math.inf)
        return len(self._open) < before

    def _pause_s(self) -> float | None:
        if not self._open:
            return None
        due = min(self._not_before.get(_kind(held), 0.0) for held in self._open)
        pause_s = max(due - time.monotonic(), 0.0)
        return min(pause_s, _SHORT_PAUSE_S) if self._is_closed else pause_s

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
            self._not_before.clear()

    def _settle(self, now: float) -> None:
        """Try some of each kind whose pause is over."""
        settlement, outages = self._settlement, self._outages
        self._try(Outcome.SEND, outages.send, settlement.send, now)
        self._try(Outcome.FAIL, outages.settle, settlement.fail, now)
        self._try(Outcome.ACK, outages.ack, settlement.ack, now)
        self._give_up()
        self._try(Outcome.RELEASE, outages.ack, settlement.release, now)
        self._open = [held for held in self._open if held.outcome is not Outcome.SETTLED]

    def _try(
        self,
        outcome: Outcome,
        outage: Outage,
        action: Callable[[Sequence[Held]], None],
        now: float,
    ) -> None:
        failures: dict[_Kind, Exception] = {}
        due = self._due(outcome, now)
        for kind, ready in due.items():
            try:
                action(ready)
            except Exception as error:  # noqa: BLE001
                failures[kind] = error
        if failures:
            self._pause(failures, due, outage)
        elif due and not any(kind[0] is outcome for kind in self._not_before):
            outage.answered()
        # What is left comes last, so that it keeps nothing behind it from being tried.
        tried = [held for ready in due.values() for held in ready]
        seen = set(map(id, tried))
        self._open = [held for held in self._open if id(held) not in seen] + tried

    def _due(self, outcome: Outcome, now: float) -> dict[_Kind, list[Held]]:
        """Give what is to be tried now: some of each lane's, as its queue may fail alone."""
        paused = {kind: until for kind, until in self._not_before.items() if until > now}
        for kind in self._not_before.keys() - paused.keys():
            if kind[0] is outcome:
                del self._not_before[kind]
        due: dict[_Kind, list[Held]] = {}
        for held in self._open:
            kind = _kind(held)
            if held.outcome is outcome and kind not in paused:
                ready = due.setdefault(kind, [])
                if len(ready) < _AT_ONCE[outcome]:
                    ready.append(held)
        return due

    def _pause(
        self,
        failures: Mapping[_Kind, Exception],
        tried: Mapping[_Kind, Sequence[Held]],
        outage: Outage,
    ) -> None:
        pause_s = outage.failed(next(iter(failures.values())))
        for kind in failures:
            # Where a part went well the rest may, and others' results wait behind it.
            is_partial = any(_kind(held) != kind for held in tried[kind])
            longest_s = _SHORT_PAUSE_S if is_partial or self._is_closed else math.inf
            self._not_before[kind] = time.monotonic() + min(pause_s, longest_s)

    def _give_up(self) -> None:
        oldest = math.inf if time.monotonic() >= self._until else self._clock() - _KEEP_S
        for held in self._open:
            if held.outcome in {Outcome.SEND, Outcome.FAIL} and held.decided_at < oldest:
                held.outcome = Outcome.RELEASE


def _kind(held: Held) -> _Kind:
    return held.outcome, "" if held.outcome is Outcome.SEND else held.lane
