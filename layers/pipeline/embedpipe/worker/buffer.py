"""Messages that wait for the model, handed out fairly among tenants."""

from __future__ import annotations

from collections import OrderedDict, deque
from threading import Condition

from embedpipe.worker.held import Held

_Lane = OrderedDict[str, deque[Held]]


class Buffer:
    """Ready messages by tenant. One thread takes, several put.

    A message that was delivered before is handed out alone, so that one that ends the process is
    told from those that were there by chance.
    """

    def __init__(self) -> None:
        self._fresh: _Lane = OrderedDict()
        self._suspects: _Lane = OrderedDict()
        self._suspect_next = True
        self._is_closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        with self._changed:
            return sum(len(queue) for lane in self._lanes() for queue in lane.values())

    def put(self, held: Held) -> bool:
        """Add a message; False when the buffer is closed."""
        if held.message is None:
            raise ValueError("a message that could not be read cannot wait for the model")
        lane = self._suspects if held.is_suspect else self._fresh
        with self._changed:
            if self._is_closed:
                return False
            lane.setdefault(held.message.tenant_id, deque()).append(held)
            self._changed.notify_all()
            return True

    def take(self, max_tokens: int, timeout_s: float | None = 0.0) -> list[Held]:
        """Take a round: all that is ready, or as much as fits, one message per tenant in turn.

        Parameters
        ----------
        timeout_s
            How long to wait for the first message; None waits until there is one or `close`.

        Returns
        -------
        At least one message; empty when the time is over or the buffer is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or any(self._lanes()), timeout_s)
            if not any(self._lanes()):
                return []
            if self._suspects and (self._suspect_next or not self._fresh):
                self._suspect_next = False
                return [_next(self._suspects)]
            self._suspect_next = True
            return _round(self._fresh, max_tokens)

    def close(self) -> list[Held]:
        """Hand out nothing more, wake whoever waits; give what was waiting."""
        with self._changed:
            self._is_closed = True
            left = [held for lane in self._lanes() for queue in lane.values() for held in queue]
            for lane in self._lanes():
                lane.clear()
            self._changed.notify_all()
            return left

    def _lanes(self) -> tuple[_Lane, _Lane]:
        return self._fresh, self._suspects


def _next(lane: _Lane) -> Held:
    tenant, queue = next(iter(lane.items()))
    held = queue.popleft()
    if queue:
        lane.move_to_end(tenant)
    else:
        del lane[tenant]
    return held


def _round(lane: _Lane, max_tokens: int) -> list[Held]:
    taken = [_next(lane)]
    left = max_tokens - taken[0].weight
    while lane:
        first = next(iter(lane.values()))[0]
        if first.weight > left:
            break
        left -= first.weight
        taken.append(_next(lane))
    return taken
