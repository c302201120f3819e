"""Extends the visibility of everything held, what waits in the buffer included."""

from __future__ import annotations

from threading import Event

from embedpipe.worker.context import Context
from embedpipe.worker.held import Lease, by_lane


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
            pause_s = min(self.beat(), period_s) or period_s

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
        at = self._clock()
        lost = self._inboxes[lane].extend([lease.received for lease in leases], self._visibility_s)
        self._holdings.extended(leases, lost, at)
