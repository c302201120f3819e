"""Chunks of one model that are to be computed soon, and which of them share a batch."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from embedpipe.domain.batching import cut_lengths, fitting, plan_batches
from embedpipe.worker.device import Device
from embedpipe.worker.flows import Chunk, Ready

# How many batches' worth of chunks lie ready to choose from: fewer pad more, more keep what is
# computed next from following the shares of lanes and tenants.
HORIZON_BATCHES = 24
# The cut is made anew when this share of what it was made for has come or gone.
_CHANGED_SHARE = 0.25


class Packing:
    """Chunks by length, and how the axis of lengths is cut into parts that share batches.

    The plan is that cut, not a list of batches: a batch is put together around one chunk at the
    moment when it is wanted, of what lies in the same part then.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        #: Of chunks that are not taken.
        self.tokens = 0
        self._by_length: dict[int, deque[Chunk]] = {}
        self._counts: dict[int, int] = {}
        self._lengths: list[int] = []
        self._cuts: list[int] = []
        self._cut_for = (0, 0)
        self._changed = 0

    @property
    def has_room(self) -> bool:
        """Whether more chunks would make better batches."""
        return self.tokens < HORIZON_BATCHES * self.device.budget

    def add(self, chunk: Chunk) -> None:
        """Put a chunk to the others."""
        length = len(chunk.ids)
        if length not in self._counts:
            insort(self._lengths, length)
            self._counts[length] = 0
            self._by_length.setdefault(length, deque())
        self._by_length[length].append(chunk)
        self._counts[length] += 1
        self.tokens += length
        self._changed += length

    def remove(self, chunk: Chunk) -> None:
        """Take a chunk away from the others."""
        chunk.is_taken = True
        length = len(chunk.ids)
        self.tokens -= length
        self._changed += length
        self._counts[length] -= 1
        if not self._counts[length]:
            del self._counts[length], self._by_length[length]
            del self._lengths[bisect_left(self._lengths, length)]

    def batch(self, first: Chunk) -> list[Chunk]:
        """Take the batch that holds a chunk."""
        self._cut_if_due()
        longest, quota = self._beginning(len(first.ids))
        fits = fitting(longest, self.device.budget)
        # Of the longest only so many, as the rest of them fills batches of its own.
        quotas = {longest: quota - (len(first.ids) == longest)}
        lengths = self._below(longest)
        self.remove(first)
        batch = [first]
        for length in lengths:
            batch += self._taken(length, min(fits - len(batch), quotas.get(length, fits)))
            if len(batch) == fits:
                break
        return batch

    def _cut_if_due(self) -> None:
        tokens, budget = self._cut_for
        if self._changed < _CHANGED_SHARE * tokens and budget == self.device.budget:
            return
        self._cut_for, self._changed = (self.tokens, self.device.budget), 0
        self._cuts = cut_lengths(
            self._counts,
            max_tokens=self.device.budget,
            overhead_tokens=self.device.overhead_tokens,
        )

    def _part(self, length: int) -> tuple[int, int]:
        """Give where in the ordered lengths the part of a length begins and ends."""
        at = bisect_left(self._cuts, length)
        above = self._cuts[at - 1] if at else 0
        to = self._cuts[at] if at < len(self._cuts) else self._lengths[-1]
        return bisect_left(self._lengths, above + 1), bisect_left(self._lengths, to + 1)

    def _beginning(self, wanted: int) -> tuple[int, int]:
        """Find the batch with that length, when its part is cut from its longest chunk down.

        Returns
        -------
        The longest length of the batch, and how many of it may be in it.
        """
        begin, end = self._part(wanted)
        longest = quota = room = 0
        for length in reversed(self._lengths[begin:end]):
            count, fits = self._counts[length], fitting(length, self.device.budget)
            if length == wanted and (not room or count - room >= fits):
                # A batch of nothing else.
                return length, count
            if length == wanted:
                break
            count -= min(room, count)
            room -= min(room, self._counts[length])
            if count:
                longest, quota = length, count % fits
                room = fits - quota if quota else 0
        return longest, quota

    def _below(self, longest: int) -> list[int]:
        begin, end = self._part(longest)
        return [length for length in reversed(self._lengths[begin:end]) if length <= longest]

    def _taken(self, length: int, count: int) -> list[Chunk]:
        taken: list[Chunk] = []
        # What is taken by itself stays in the queue until its turn.
        while len(taken) < count and length in self._counts:
            chunk = self._by_length[length].popleft()
            if not chunk.is_taken:
                self.remove(chunk)
                taken.append(chunk)
        return taken


def batches_of(message: Ready) -> list[list[Chunk]]:
    """Plan the batches of a message that shares none with others."""
    device = message.packing.device
    chunks = [message.next_chunk() for _ in range(len(message.rows))]
    planned = plan_batches(
        [len(chunk.ids) for chunk in chunks],
        max_tokens=device.budget,
        overhead_tokens=device.overhead_tokens,
    )
    return [[chunks[index] for index in indices] for indices in planned]
