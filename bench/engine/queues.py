"""A queue that is fair to its tenants, as SQS is to message groups on a standard queue."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from embedpipe.adapters.memory import MemoryQueue
from embedpipe.ports import Outgoing, Received

_POLL_S = 0.005


class FairQueue:
    """One queue in memory per group, served in turn."""

    def __init__(self, name: str, *, visibility_s: float, dlq: MemoryQueue) -> None:
        self._name, self._visibility_s, self._dlq = name, visibility_s, dlq
        self._groups: dict[str, MemoryQueue] = {}
        self._turn = 0

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        """Send each to the queue of its group."""
        for message in messages:
            self._group(message.group_id).send([message])
        return {message.key for message in messages}

    def receive(self, *, max_messages: int = 10, wait_s: float = 10.0) -> list[Received]:
        """Receive from the groups in turn, waiting for the first message."""
        deadline = time.monotonic() + wait_s
        while not (taken := self._take(max_messages)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return taken

    def ack(self, received: Sequence[Received]) -> None:
        """Remove messages for good."""
        for one in received:
            self._of(one).ack([one])

    def retry(self, received: Received, delay_s: float) -> None:
        """Hand a message back."""
        self._of(received).retry(received, delay_s)

    def extend(self, received: Sequence[Received], visibility_s: int) -> list[Received]:
        """Hide messages for longer; give back those whose lease is lost."""
        return [lost for one in received for lost in self._of(one).extend([one], visibility_s)]

    def copy_to_dlq(
        self, received: Received, error: Exception, about: Mapping[str, str] | None = None
    ) -> None:
        """Copy a message to the DLQ."""
        self._of(received).copy_to_dlq(received, error)

    def check(self) -> None:
        """Be there."""

    def backlog(self) -> int:
        """Count messages that are not settled."""
        return sum(queue.backlog() for queue in list(self._groups.values()))

    def _take(self, most: int) -> list[Received]:
        queues = list(self._groups.values())
        self._turn += 1
        start = self._turn % max(len(queues), 1)
        found: list[Received] = []
        # One of each first, then whatever fits.
        for share in (1, most):
            for queue in [*queues[start:], *queues[:start]]:
                if room := min(share, most - len(found)):
                    found += queue.receive(max_messages=room, wait_s=0)
        return found

    def _group(self, name: str) -> MemoryQueue:
        if name not in self._groups:
            self._groups[name] = MemoryQueue(
                self._name, visibility_s=self._visibility_s, dlq=self._dlq
            )
        return self._groups[name]

    def _of(self, received: Received) -> MemoryQueue:
        return self._group(received.group_id or "")
