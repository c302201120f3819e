"""What waits for the model, by lane and tenant, and whose turn it is."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING

from embedpipe.domain.fairness import Turns
from embedpipe.domain.lanes import LANES
from embedpipe.worker.held import Held, Outcome

if TYPE_CHECKING:
    from embedpipe.stages.embed import Ids
    from embedpipe.worker.packing import Packing


@dataclass(eq=False, slots=True)
class Flow:
    """Messages of one tenant in one lane, and those of their chunks that may be taken next.

    Attributes
    ----------
    messages, suspects
        Not yet planned, oldest first; suspects were delivered before.
    planned
        Oldest first; what was taken with others' chunks stays until its turn.
    waiting
        How many of the planned chunks are not taken.
    """

    lane: str
    tenant: str
    messages: deque[Ready] = field(default_factory=deque)
    suspects: deque[Ready] = field(default_factory=deque)
    planned: deque[Chunk] = field(default_factory=deque)
    waiting: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self.waiting or self.messages or self.suspects)

    def oldest(self) -> Chunk:
        """Give the planned chunk that waits for longest; there is one."""
        while self.planned[0].is_taken:
            self.planned.popleft()
        return self.planned[0]


@dataclass(eq=False)
class Ready:
    """A message that waits.

    Attributes
    ----------
    rows
        Its chunks that are not planned yet.
    left, tokens
        How many of its chunks are not taken, and their tokens.
    is_begun
        Whether one was taken.
    is_withdrawn
        Given back: none will be taken.
    has_waited
        A suspect that let others go before it, and does so no more.
    """

    held: Held
    flow: Flow
    packing: Packing
    rows: deque[int]
    left: int
    tokens: int
    is_begun: bool = False
    is_withdrawn: bool = False
    has_waited: bool = False

    def __post_init__(self) -> None:
        # A message that fails lets go of its ids while some of its chunks are not planned yet.
        self._ids = self.held.token_ids

    @property
    def is_open(self) -> bool:
        """Whether its vectors are still to be computed."""
        return self.held.outcome is Outcome.OPEN and not self.is_withdrawn

    def next_chunk(self) -> Chunk:
        """Give the first of the rows."""
        row = self.rows.popleft()
        return Chunk(self, row, self._ids[row])


@dataclass(eq=False, slots=True)
class Chunk:
    """One input of a message."""

    message: Ready
    row: int
    ids: Ids
    is_taken: bool = False


class Flows:
    """All flows that are not empty. Lanes share by weight, tenants of a lane evenly, in tokens."""

    def __init__(self) -> None:
        self._flows: dict[str, dict[str, Flow]] = {}
        self._lanes: Turns[str] = Turns(LANES)
        self._tenants: defaultdict[str, Turns[str]] = defaultdict(Turns)

    def __iter__(self) -> Iterator[Flow]:
        return (flow for flows in list(self._flows.values()) for flow in list(flows.values()))

    def of(self, lane: str, tenant: str) -> Flow:
        """Give a flow, to put something into it."""
        flows = self._flows.setdefault(lane, {})
        if tenant not in flows:
            flows[tenant] = Flow(lane, tenant)
            self._lanes.enter(lane)
            self._tenants[lane].enter(tenant)
        return flows[tenant]

    def next(self, wanted: Callable[[Flow], bool]) -> Flow | None:
        """Give the flow that is to be served next, of those wanted."""
        if not (found := self._found(wanted)):
            return None
        lane = self._lanes.next(found)
        return self._flows[lane][self._tenants[lane].next(found[lane])]

    def to_plan(self, wanted: Callable[[Flow], bool]) -> Iterator[Flow]:
        """Give the flows for which more is to be planned, in their turn, while they are wanted.

        More is planned of each before the next is asked for.
        """
        queues = {
            lane: [(self._standing(lane, tenant), tenant) for tenant in tenants]
            for lane, tenants in self._found(wanted).items()
        }
        for queue in queues.values():
            heapify(queue)
        while queues:
            lane = min(queues, key=self._lanes.standing)
            flow = self._flows[lane][queues[lane][0][1]]
            if wanted(flow):
                yield flow
            if wanted(flow):
                standing = self._standing(lane, flow.tenant)
                heapreplace(queues[lane], (standing, flow.tenant))
            else:
                heappop(queues[lane])
            if not queues[lane]:
                del queues[lane]

    def plan(self, flow: Flow, tokens: int) -> None:
        """Note that so much was planned, or if negative, taken away again."""
        self._lanes.reserve(flow.lane, tokens)
        self._tenants[flow.lane].reserve(flow.tenant, tokens)

    def serve(self, flow: Flow, tokens: int) -> None:
        """Note that so much goes to the model."""
        self._lanes.serve(flow.lane, tokens)
        self._tenants[flow.lane].serve(flow.tenant, tokens)

    def tidy(self, flow: Flow) -> None:
        """Forget a flow that is empty."""
        flows = self._flows.get(flow.lane, {})
        if not flow.is_empty or flows.get(flow.tenant) is not flow:
            return
        # What was taken with others' chunks lies there still, and holds on to its model.
        flow.planned.clear()
        del flows[flow.tenant]
        self._tenants[flow.lane].leave(flow.tenant)
        if not flows:
            del self._flows[flow.lane]
            self._lanes.leave(flow.lane)

    def _standing(self, lane: str, tenant: str) -> float:
        return self._tenants[lane].standing(tenant)

    def _found(self, wanted: Callable[[Flow], bool]) -> dict[str, list[str]]:
        found = {
            lane: [tenant for tenant, flow in flows.items() if wanted(flow)]
            for lane, flows in self._flows.items()
        }
        return {lane: tenants for lane, tenants in found.items() if tenants}
