"""All messages held, how much that is, and which leases are still ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition

from embedpipe.domain.jobs import BatchRef
from embedpipe.ports import Received
from embedpipe.stages.embed import Ids
from embedpipe.worker.held import Held, Lease

# SQS hides a message for 12 hours after its receipt at most, however often that is extended.
_LONGEST_LEASE_S = 43_200 - 60
# A body is compressed ids in base64; below this, a message is mostly envelope.
_BODY_BYTES_PER_TOKEN = 8


class Holdings:
    """All messages held, and how much that is. Every thread uses it.

    A lease counts as lost from the moment at which its visibility runs out by our clock, so that
    missed beats and a stopped process are noticed without asking anybody.

    Parameters
    ----------
    limit_tokens
        When this much is held, nothing more is received.
    """

    def __init__(
        self, *, limit_tokens: int, visibility_s: float, clock: Callable[[], float]
    ) -> None:
        self._limit = limit_tokens
        self._visibility_s = visibility_s
        self._clock = clock
        self._held: dict[int, Held] = {}
        self._batches: dict[BatchRef, Held] = {}
        self._weight = 0
        self._seen = self._seen_weight = 0
        self._changed = Condition()

    @property
    def weight(self) -> int:
        """How many tokens are held."""
        with self._changed:
            return self._weight

    def __len__(self) -> int:
        with self._changed:
            return len(self._held)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until more may be received."""
        with self._changed:
            return self._changed.wait_for(lambda: self._weight < self._limit, timeout_s)

    def room_for(self, at_most: int) -> int:
        """Say how many messages, 1 or more, fit as large as those before them were on average."""
        with self._changed:
            mean = self._seen_weight // self._seen if self._seen else 1
            return max(1, min(at_most, (self._limit - self._weight) // max(mean, 1)))

    def take(self, received: Sequence[Received], at: float) -> list[Held]:
        """Hold deliveries received at that time."""
        until = at + self._visibility_s
        taken = [
            Held([Lease(one, at, until)], max(1, len(one.body) // _BODY_BYTES_PER_TOKEN))
            for one in received
        ]
        with self._changed:
            self._held.update((id(held), held) for held in taken)
            self._weight += sum(held.weight for held in taken)
        return taken

    def opened(self, held: Held, token_ids: Sequence[Ids]) -> bool:
        """Note what a message asks the model for.

        Returns
        -------
        False when the same batch is held already: its holder got the delivery, `held` is over.
        """
        batch = held.batch
        if batch is None:
            raise ValueError("a message that could not be read asks for nothing")
        weight = max(held.weight, sum(map(len, token_ids)))
        with self._changed:
            first = self._batches.get(batch)
            if first is not None:
                first.leases += held.leases
                self._remove(held)
                return False
            self._batches[batch] = held
            self._seen, self._seen_weight = self._seen + 1, self._seen_weight + weight
            self._weight += weight - held.weight
            held.weight, held.token_ids, held.missing = weight, token_ids, len(token_ids)
            return True

    def forget(self, held: Held) -> list[Received]:
        """Hold a message no longer; give its deliveries that are still ours."""
        with self._changed:
            self._remove(held)
            return self._live(held)

    def live(self, held: Held) -> list[Received]:
        """Give the deliveries of a message that are still ours."""
        with self._changed:
            return self._live(held)

    def all(self) -> list[Held]:
        """Give all messages held, oldest first."""
        with self._changed:
            return list(self._held.values())

    def extendable(self) -> list[Received]:
        """Give the deliveries whose visibility is to be extended."""
        now = self._clock()
        last = _LONGEST_LEASE_S - self._visibility_s
        with self._changed:
            return [
                lease.received
                for held in self._held.values()
                for lease in held.leases
                if now < lease.until and now - lease.taken_at < last
            ]

    def extended(self, handles: set[str], lost: set[str], at: float) -> None:
        """Note which receipt handles were extended at that time, and which are lost."""
        with self._changed:
            for held in self._held.values():
                for lease in held.leases:
                    handle = lease.received.receipt_handle
                    if handle in lost:
                        lease.until = at
                    elif handle in handles:
                        lease.until = at + self._visibility_s

    def _live(self, held: Held) -> list[Received]:
        now = self._clock()
        return [lease.received for lease in held.leases if now < lease.until]

    def _remove(self, held: Held) -> None:
        if self._held.pop(id(held), None) is None:
            return
        self._weight -= held.weight
        batch = held.batch
        if batch is not None and self._batches.get(batch) is held:
            del self._batches[batch]
        self._changed.notify_all()
