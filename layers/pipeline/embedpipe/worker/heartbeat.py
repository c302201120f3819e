"""Extends the visibility of everything held, what waits in the buffer included."""

from __future__ import annotations

from threading import Event

from embedpipe.worker.context import Context
from embedpipe.worker.held import Lease, by_lane

# What one call to SQS extends.
_AT_ONCE = 10


class Heartbeat:
    """Beats three times per visibility timeout, so that one beat may fail."""

    def __init__(self, context: Context) -> None:
        self._inboxes = context.ports.inboxes
        self._holdings = context.holdings
        self._visibility_s = context.ports.settings.visibility_s
        self._clock = context.clock
        self._outage = context.outages.extend
        self._is_over = Event()

    def loop(self) -> None:
        """Beat until closed."""
        pause_s = period_s = self._visibility_s / 3
        while not self._is_over.wait(pause_s):
            began = self._clock()
            again_s = min(self.beat(), period_s)
            # A beat of many calls takes its time: the next one is not to be late by as much.
            pause_s = again_s or max(period_s - (self._clock() - began), 0.0)

    def beat(self) -> float:
        """Extend all; give the seconds after which to try again, 0 when all went well.

        A lane whose queue fails does not keep the leases of the others from being extended.
        """
        failure: Exception | None = None
        groups = by_lane(self._holdings.extendable())
        for lane, leases in groups.items():
            try:
                self._extend(lane, leases)
            except Exception as error:  # noqa: BLE001
                failure = error
        if failure is not None:
            return self._outage.failed(failure)
        if groups:
            self._outage.answered()
        return 0.0

    def close(self) -> None:
        """End the loop."""
        self._is_over.set()

    def _extend(self, lane: str, leases: list[Lease]) -> None:
        for begin in range(0, len(leases), _AT_ONCE):
            # What was settled meanwhile would be hidden for another time than it is to be.
            part = [lease for lease in leases[begin : begin + _AT_ONCE] if not lease.is_over]
            at = self._clock()
            received = [lease.received for lease in part]
            lost = self._inboxes[lane].extend(received, self._visibility_s)
            # Noted at once: a failure later on says nothing about these.
            self._holdings.extended(part, lost, at)
