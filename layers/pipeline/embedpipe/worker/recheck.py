"""Asks again about messages that wait for long: their jobs may have ended meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome

#: So long a message waits before it is asked about, and asked about again.
RECHECK_S = 5.0

Decide = Callable[[Held, Outcome, Exception | None], None]


class Recheck:
    """Drops what waits for a cancelled job, which could hold up others for minutes.

    A receiver asks before a message waits; this asks while it does. A worker with nothing older
    than `RECHECK_S` asks nothing.

    Parameters
    ----------
    decide
        Hands a message on with what is to be done with it.
    """

    def __init__(self, context: Context, decide: Decide) -> None:
        self._jobs = context.ports.jobs
        self._holdings = context.holdings
        self._buffer = context.buffer
        self._counters = context.counters
        self._outage = context.outages.recheck
        self._clock = context.clock
        self._stop = context.stop
        self._decide = decide

    def loop(self) -> None:
        """Look until the worker stops."""
        wait_s = RECHECK_S
        while not self._stop.wait(wait_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001
                wait_s = max(RECHECK_S, self._outage.failed(error))
            else:
                self._outage.answered()
                wait_s = RECHECK_S

    def look(self) -> int:
        """Ask about all that has waited for long; give how many messages were dropped.

        One that a provider is to compute is only marked: it is dropped before it is asked for.
        """
        waiting = {held.batch: held for held in self._holdings.all() if self._has_waited(held)}
        batches = [batch for batch in waiting if batch is not None]
        if not batches:
            return 0
        wanted = self._jobs.pending(batches)
        unwanted = [waiting[batch] for batch in batches if batch not in wanted]
        for held in unwanted:
            held.is_unwanted = True
        dropped = self._buffer.withdraw(unwanted)
        for held in dropped:
            self._decide(held, Outcome.ACK, None)
        self._counters.add(unwanted=len(dropped))
        return len(dropped)

    def _has_waited(self, held: Held) -> bool:
        is_waiting = held.outcome is Outcome.OPEN and held.missing > 0
        return is_waiting and self._clock() - held.leases[0].taken_at >= RECHECK_S
