"""Queues as SQS has them: what is received is hidden, and comes back when nobody deletes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.scaling.engine import Clock


@dataclass(eq=False, slots=True)
class Message:
    """One message of a document; the same object goes through all stages."""

    number: int
    posted_s: float
    tokens: float
    chunks: float
    computed: int = 0
    stored: int = 0


class Queue:
    """Messages that wait, and those that somebody holds.

    A consumer that lives extends what it holds, so nothing runs out; `lost` is for one that died.
    """

    def __init__(self, clock: Clock, *, visibility_s: float) -> None:
        self.visible: deque[Message] = deque()
        self.held: set[Message] = set()
        self.wake: Callable[[], None] = lambda: None
        self._clock = clock
        self._visibility_s = visibility_s

    def put(self, messages: Iterable[Message]) -> None:
        """Send."""
        self.visible.extend(messages)
        self.wake()

    def receive(self, at_most: int) -> list[Message]:
        """Take some; they are hidden from everybody else."""
        taken = [self.visible.popleft() for _ in range(min(at_most, len(self.visible)))]
        self.held.update(taken)
        return taken

    def delete(self, messages: Iterable[Message]) -> None:
        """Settle."""
        self.held.difference_update(messages)

    def release(self, messages: Iterable[Message]) -> None:
        """Hand back at once: visibility 0."""
        back = [message for message in messages if message in self.held]
        self.held.difference_update(back)
        self.put(back)

    def lost(self, messages: Iterable[Message]) -> None:
        """Come back when the visibility of a dead consumer's messages runs out."""
        gone = list(messages)
        self._clock.after(self._visibility_s, lambda: self.release(gone))
