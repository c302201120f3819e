"""Asks again about messages that wait for long: their jobs may have ended meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from embedpipe.domain.jobs import BatchRef
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome

#: So long a message waits before it is asked about, and asked about again.
RECHECK_S = 5.0
#: Each tenant is a transaction of its own, since rows are seen by their tenant alone.
TENANTS_AT_ONCE = 16

Decide = Callable[[Held, Outcome, Exception | None], None]
#: Takes messages out of where they wait; gives those that waited there.
Withdraw = Callable[[Sequence[Held]], list[Held]]


class Recheck:
    """Drops what waits for a cancelled job, which could hold up others for minutes.

    A receiver asks before a message waits; this asks while it does, for its model to load or for
    its turn. A worker with nothing older than `RECHECK_S` asks nothing, and one with the messages
    of many tenants about some of them, those first that were asked about longest ago.

    Parameters
    ----------
    decide
        Hands a message on with what is to be done with it.
    withdraw
        Those who let messages wait, in the order that messages pass them.
    """

    def __init__(self, context: Context, decide: Decide, *withdraw: Withdraw) -> None:
        self._jobs = context.ports.jobs
        self._holdings = context.holdings
        self._withdraw = withdraw
        self._counters = context.counters
        self._outage = context.outages.recheck
        self._clock = context.clock
        self._stop = context.stop
        self._decide = decide
        self._round = 0
        self._asked: dict[str, int] = {}

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
        batches = self._of_some_tenants([batch for batch in waiting if batch is not None])
        if not batches:
            return 0
        wanted = self._jobs.pending(batches)
        unwanted = [waiting[batch] for batch in batches if batch not in wanted]
        for held in unwanted:
            held.is_unwanted = True
        dropped = [held for withdraw in self._withdraw for held in withdraw(unwanted)]
        for held in dropped:
            self._decide(held, Outcome.ACK, None)
        self._counters.add(unwanted=len(dropped))
        return len(dropped)

    def _of_some_tenants(self, batches: Sequence[BatchRef]) -> list[BatchRef]:
        by_tenant: defaultdict[str, list[BatchRef]] = defaultdict(list)
        for batch in batches:
            by_tenant[batch.job.tenant_id].append(batch)
        self._round += 1
        self._asked = {tenant: self._asked.get(tenant, 0) for tenant in by_tenant}
        chosen = sorted(by_tenant, key=lambda tenant: self._asked[tenant])[:TENANTS_AT_ONCE]
        self._asked |= dict.fromkeys(chosen, self._round)
        return [batch for tenant in chosen for batch in by_tenant[tenant]]

    def _has_waited(self, held: Held) -> bool:
        is_waiting = held.outcome is Outcome.OPEN and held.missing > 0
        return is_waiting and self._clock() - held.leases[0].taken_at >= RECHECK_S
