"""Extends the visibility of everything held, what waits in the buffer included."""

from __future__ import annotations

from threading import Event

from embedpipe.worker.context import Context


class Heartbeat:
    """Beats three times per visibility timeout, so that one beat may fail."""

    def __init__(self, context: Context) -> None:
        self._inbox = context.ports.inboxes["normal"]
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
        """Extend all; give the seconds after which to try again, 0 when all went well."""
        received = self._holdings.extendable()
        if not received:
            return 0.0
        at = self._clock()
        try:
            lost = self._inbox.extend(received, self._visibility_s)
        except Exception as error:  # noqa: BLE001
            return self._outage.failed(error)
        self._outage.answered()
        self._holdings.extended(
            {one.receipt_handle for one in received}, {one.receipt_handle for one in lost}, at
        )
        return 0.0

    def close(self) -> None:
        """End the loop."""
        self._is_over.set()
