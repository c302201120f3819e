"""Where the streams find what to compute next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition, Event
from typing import TYPE_CHECKING

from embedpipe.domain.batching import plan_batches
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.stages.embed import Ids
from embedpipe.worker.buffer import InferenceBatch
from embedpipe.worker.device import Device

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

# Of so many batches one is from the queue while both wait, or nobody would ever get through
# synchronous requests that never end.
_URGENT_IN_A_ROW = 9
# How many batches' worth of urgent inputs are planned together.
_URGENT_BATCHES = 16


@dataclass(eq=False)
class Request:
    """Inputs that somebody waits for; `rows` are those that no batch has yet."""

    device: Device
    inputs: Sequence[Ids]
    rows: list[int]
    results: dict[int, Floats | Exception] = field(default_factory=dict)
    error: Exception | None = None
    done: Event = field(default_factory=Event)


@dataclass(frozen=True)
class UrgentBatch:
    """Inputs of requests that are computed together: each a request and the number of the input."""

    device: Device
    parts: list[tuple[Request, int]]

    @property
    def inputs(self) -> list[Ids]:
        """What the model is given."""
        return [request.inputs[row] for request, row in self.parts]


class Desk:
    """Urgent requests, and batches that are made ready for when a stream is free.

    Parameters
    ----------
    ahead
        How many batches are to lie ready.
    """

    def __init__(self, ahead: int = 1) -> None:
        self.ahead = ahead
        self._ready: deque[InferenceBatch] = deque()
        self._requests: deque[Request] = deque()
        self._urgent_in_a_row = 0
        self._is_closed = self._is_over = False
        self._changed = Condition()

    def wait_for_room(self) -> bool:
        """Wait until a batch more may lie ready; False when none will be taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or len(self._ready) < self.ahead)
            return not self._is_over

    def put(self, batch: InferenceBatch) -> None:
        """Lay a batch ready."""
        with self._changed:
            self._ready.append(batch)
            self._changed.notify_all()

    def ask(self, request: Request) -> None:
        """Have a request computed. Raises EmbedderUnavailableError after `abandon`."""
        with self._changed:
            if self._is_over:
                raise EmbedderUnavailableError("the worker is stopping")
            self._requests.append(request)
            self._changed.notify_all()

    def withdraw(self, request: Request) -> None:
        """Compute no more of a request than what is computed now."""
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)

    def close(self) -> None:
        """Say that no batch will follow."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Give out nothing more, and tell whoever waits."""
        with self._changed:
            self._is_over = True
            self._ready.clear()
            for request in self._requests:
                request.error = EmbedderUnavailableError("the worker is stopping")
                request.done.set()
            self._requests.clear()
            self._changed.notify_all()

    def next(self) -> InferenceBatch | UrgentBatch | None:
        """Wait for a batch; None when there will be none."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or self._is_closed or self._ready or self._requests
            )
            if self._requests and not (self._ready and self._urgent_in_a_row >= _URGENT_IN_A_ROW):
                self._urgent_in_a_row += 1
                return self._urgent()
            if not self._ready:
                return None
            self._urgent_in_a_row = 0
            batch = self._ready.popleft()
            self._changed.notify_all()
            return batch

    def next_urgent(self) -> UrgentBatch | None:
        """Give an urgent batch, if any waits."""
        with self._changed:
            return self._urgent() if self._requests else None

    def _urgent(self) -> UrgentBatch:
        """Take the batch with the first input of the request whose turn it is."""
        device = self._requests[0].device
        parts: list[tuple[Request, int]] = []
        tokens = 0
        for request in self._requests:
            if request.device is device and tokens < _URGENT_BATCHES * device.budget:
                parts += [(request, row) for row in request.rows]
                tokens += sum(len(request.inputs[row]) for row in request.rows)
        planned = plan_batches(
            [len(request.inputs[row]) for request, row in parts],
            max_tokens=device.budget,
            overhead_tokens=device.overhead_tokens,
        )
        chosen = [parts[index] for index in next(batch for batch in planned if 0 in batch)]
        for request, row in chosen:
            request.rows.remove(row)
        self._requests.rotate(-1)
        self._requests = deque(request for request in self._requests if request.rows)
        return UrgentBatch(device, chosen)
