"""What waits for one model at a provider, handed out by lane and tenant."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from embedpipe.domain.fairness import Turns
from embedpipe.domain.lanes import LANES
from embedpipe.ports import RemoteEmbedder
from embedpipe.worker.held import Held

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats


@dataclass(eq=False)
class Work:
    """A message whose texts a provider is to compute.

    Attributes
    ----------
    put_at
        When it began to wait.
    rows
        Chunks that are in no request.
    under_way
        How many chunks are being asked for.
    missing
        How many vectors are still to come.
    is_begun
        Whether the provider has computed some of it.
    failures, failed_at
        Requests of it that the provider did not answer, and when the first was.
    is_over
        Whether it is finished, or taken back: what still comes for it is dropped.
    """

    held: Held
    line: Line
    texts: Sequence[str]
    put_at: float
    rows: list[int] = field(default_factory=list)
    under_way: int = 0
    missing: int = 0
    is_begun: bool = False
    failures: int = 0
    failed_at: float = math.inf
    is_over: bool = False

    def place(self, row: int, vector: Floats) -> None:
        """Keep the vector of a chunk."""
        if self.held.vectors is None:
            shape = len(self.texts), self.line.embedder.model.dimensions
            self.held.vectors = np.empty(shape, dtype=np.float32)
        self.held.vectors[row] = vector


Chunk = tuple[Work, int]


@dataclass(frozen=True)
class Round:
    """Chunks to be parted into requests."""

    line: Line
    chunks: list[Chunk]


@dataclass(frozen=True)
class Request:
    """Chunks that are asked for together."""

    line: Line
    chunks: list[Chunk]


class Line:
    """What waits for one model. Guarded by the lock of its queue.

    Attributes
    ----------
    works
        Messages that are not over, oldest first.
    paused_until
        Nothing is asked before.
    is_out
        Whether the provider has been failing for so long that not all of it can be kept.
    failures
        Pauses since its last answer.
    answered_at
        When the provider answered last.
    running
        How many threads ask for it now.
    """

    def __init__(self, embedder: RemoteEmbedder) -> None:
        self.embedder = embedder
        self.provider = embedder.model.provider
        self.works: dict[int, Work] = {}
        self.paused_until = -math.inf
        self.is_out = False
        self.failures = 0
        self.answered_at = -math.inf
        self.running = 0
        self._planned: deque[Request] = deque()
        self._again: deque[Work] = deque()
        self._fresh: dict[str, dict[str, deque[Work]]] = {}
        self._lanes: Turns[str] = Turns(LANES)
        self._tenants: defaultdict[str, Turns[str]] = defaultdict(Turns)
        self._is_again_next = True

    @property
    def weight(self) -> int:
        """Tokens of all its messages, about."""
        return sum(work.held.weight for work in self.works.values())

    def add(self, work: Work) -> None:
        """Let a message wait for its turn."""
        self.works[id(work)] = work
        lane, tenant_id = _whose(work)
        tenants = self._fresh.setdefault(lane, {})
        if tenant_id not in tenants:
            tenants[tenant_id] = deque()
            self._lanes.enter(lane)
            self._tenants[lane].enter(tenant_id)
        tenants[tenant_id].append(work)

    def remove(self, work: Work) -> None:
        """Forget a message that is over, wherever it waits."""
        self.works.pop(id(work), None)
        if work in self._again:
            self._again.remove(work)
        lane, tenant_id = _whose(work)
        queue = self._fresh.get(lane, {}).get(tenant_id, ())
        if work in queue:
            self._fresh[lane][tenant_id].remove(work)
            self._tidy(lane, tenant_id)

    def add_again(self, work: Work) -> None:
        """Let a message that failed wait to be tried alone."""
        if work not in self._again:
            self._again.append(work)

    def plan(self, requests: Sequence[Request], *, first: bool = False) -> None:
        """Keep requests to be asked; `first` those that were denied."""
        if first:
            self._planned.extendleft(reversed(requests))
        else:
            self._planned.extend(requests)

    def due_at(self, gather_s: float) -> float:
        """When something is to be done for it; infinite when nothing waits.

        Parameters
        ----------
        gather_s
            How long a message waits for others to share its requests.
        """
        if self._planned or self._again:
            return self.paused_until
        waiting = [queue[0].put_at for lane in self._fresh.values() for queue in lane.values()]
        return max(min(waiting) + gather_s, self.paused_until) if waiting else math.inf

    def next(self, most_weight: int) -> Round | Request:
        """Give what is planned, or messages to plan requests for; something must wait.

        A request that fails may fail by one of its texts. So a message whose request failed is
        planned alone, and every second time, so that it neither harms nor holds up the others.
        """
        if self._planned:
            return self._planned.popleft()
        is_again = bool(self._again) and (self._is_again_next or not self._fresh)
        self._is_again_next = not is_again
        taken = [self._again.popleft()] if is_again else list(self._fair(most_weight))
        chunks = [(work, row) for work in taken for row in work.rows]
        for work in taken:
            work.rows = []
        return Round(self, chunks)

    def _fair(self, most_weight: int) -> Iterator[Work]:
        left = most_weight
        while self._fresh:
            lane = self._lanes.next(self._fresh)
            tenant_id = self._tenants[lane].next(self._fresh[lane])
            queue = self._fresh[lane][tenant_id]
            weight = queue[0].held.weight
            if left < most_weight and weight > left:
                return
            left -= weight
            self._lanes.serve(lane, weight)
            self._tenants[lane].serve(tenant_id, weight)
            yield queue.popleft()
            self._tidy(lane, tenant_id)

    def _tidy(self, lane: str, tenant_id: str) -> None:
        if self._fresh[lane][tenant_id]:
            return
        del self._fresh[lane][tenant_id]
        self._tenants[lane].leave(tenant_id)
        if not self._fresh[lane]:
            del self._fresh[lane]
            self._lanes.leave(lane)


def _whose(work: Work) -> tuple[str, str]:
    """Give the lane and the tenant of a message."""
    message = work.held.message
    return work.held.lane, message.tenant_id if message else ""
