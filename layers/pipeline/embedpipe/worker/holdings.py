"""All messages held, how much that is, and which leases are still ours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from threading import Condition

from embedpipe.domain.jobs import BatchRef
from embedpipe.domain.lanes import NORMAL
from embedpipe.ports import Received
from embedpipe.stages.embed import Ids
from embedpipe.worker.held import Held, Lease
from embedpipe.worker.room import Room

# SQS hides a message for 12 hours after its receipt at most, however often that is extended.
_LONGEST_LEASE_S = 43_200 - 60
# A body is compressed ids in base64; below this, a message is mostly envelope.
_BODY_BYTES_PER_TOKEN = 8
# Every delivery held is extended three times per visibility timeout, ten in a call of some 10 ms,
# and handed back by such calls at a stop: that many take two seconds, however large the buffer.
_MOST_HELD = 2048
_LEAST_WEIGHT = 64
# UTF-8 bytes of text that a provider makes a token of, about.
_TEXT_BYTES_PER_TOKEN = 4


class Holdings:
    """All messages held, and how much that is. Every thread uses it.

    A lease counts as lost from the moment at which its visibility runs out by our clock, so that
    missed beats and a stopped process are noticed without asking anybody.

    Parameters
    ----------
    limit_tokens
        When this much is held, nothing more is received.
    lanes
        Those that are received from. Each has a part of the limit that no other can take.
    """

    def __init__(
        self,
        *,
        limit_tokens: int,
        visibility_s: float,
        clock: Callable[[], float],
        lanes: Collection[str] = (NORMAL,),
    ) -> None:
        self._visibility_s = visibility_s
        self._clock = clock
        self._held: dict[int, Held] = {}
        self._batches: dict[BatchRef, Held] = {}
        self._room = Room(limit_tokens, lanes)
        self._least_weight = max(_LEAST_WEIGHT, limit_tokens // _MOST_HELD)
        self._seen = self._seen_weight = 0
        self._changed = Condition()

    @property
    def weight(self) -> int:
        """How many tokens are held."""
        with self._changed:
            return self._room.taken

    def __len__(self) -> int:
        with self._changed:
            return len(self._held)

    def wait_for_room(self, timeout_s: float, lane: str = NORMAL) -> bool:
        """Wait until more may be received from a lane."""
        with self._changed:
            return self._changed.wait_for(lambda: self._room.left(lane) > 0, timeout_s)

    def room_for(self, at_most: int, lane: str = NORMAL) -> int:
        """Say how many messages, 1 or more, fit as large as those before them were on average."""
        with self._changed:
            mean = self._seen_weight // self._seen if self._seen else 1
            return max(1, min(at_most, self._room.left(lane) // max(mean, 1)))

    def take(self, received: Sequence[Received], at: float, lane: str = NORMAL) -> list[Held]:
        """Hold deliveries received at that time from a lane."""
        until = at + self._visibility_s
        taken = [
            Held(
                [Lease(one, at, until, lane)],
                max(self._least_weight, len(one.body) // _BODY_BYTES_PER_TOKEN),
                lane=lane,
            )
            for one in received
        ]
        with self._changed:
            self._held.update((id(held), held) for held in taken)
            self._room.take(lane, sum(held.weight for held in taken))
        return taken

    def opened(self, held: Held, token_ids: Sequence[Ids]) -> bool:
        """Note what a message asks the model for: ids, or without any its texts.

        Returns
        -------
        False when the same batch is held already: its holder got the delivery, `held` is over.
        """
        message = held.message
        if message is None:
            raise ValueError("a message that could not be read asks for nothing")
        size = sum(map(len, token_ids)) or _tokens_of(message.texts or ())
        weight = max(held.weight, size)
        with self._changed:
            first = self._batches.get(message.batch)
            if first is not None:
                first.leases += held.leases
                self._remove(held)
                return False
            self._batches[message.batch] = held
            self._seen, self._seen_weight = self._seen + 1, self._seen_weight + weight
            self._room.take(held.lane, weight - held.weight)
            held.weight, held.token_ids, held.missing = weight, token_ids, message.chunk_count
            return True

    def forget(self, held: Held) -> list[Lease]:
        """Hold a message no longer; give its deliveries that are still ours."""
        with self._changed:
            self._remove(held)
            for lease in held.leases:
                lease.is_over = True
            return self._live(held)

    def live(self, held: Held) -> list[Lease]:
        """Give the deliveries of a message that are still ours."""
        with self._changed:
            return self._live(held)

    def all(self) -> list[Held]:
        """Give all messages held, oldest first."""
        with self._changed:
            return list(self._held.values())

    def extendable(self) -> list[Lease]:
        """Give the deliveries whose visibility is to be extended, the next to run out first."""
        now = self._clock()
        last = _LONGEST_LEASE_S - self._visibility_s
        with self._changed:
            leases = [
                lease
                for held in self._held.values()
                for lease in held.leases
                if now < lease.until and now - lease.taken_at < last
            ]
        return sorted(leases, key=lambda lease: lease.until)

    def extended(self, leases: Sequence[Lease], lost: Collection[Received], at: float) -> None:
        """Note that leases were extended at that time, and which of them turned out to be lost."""
        gone = {received.receipt_handle for received in lost}
        with self._changed:
            for lease in leases:
                is_lost = lease.received.receipt_handle in gone
                lease.until = at if is_lost else at + self._visibility_s

    def _live(self, held: Held) -> list[Lease]:
        now = self._clock()
        return [lease for lease in held.leases if now < lease.until]

    def _remove(self, held: Held) -> None:
        if self._held.pop(id(held), None) is None:
            return
        self._room.give_back(held.lane, held.weight)
        batch = held.batch
        if batch is not None and self._batches.get(batch) is held:
            del self._batches[batch]
        self._changed.notify_all()


def _tokens_of(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts) // _TEXT_BYTES_PER_TOKEN
