"""Queues in memory that give up on a message as SQS does, and that can be put back as they were."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from embedpipe.adapters.memory import MemoryQueue
from embedpipe.ports import Received

#: As in template.yaml.
MAX_RECEIVES = 10


class RedrivingQueue(MemoryQueue):
    """A queue whose redrive policy moves what was received too often to the DLQ, without a word."""

    def receive(self, *, max_messages: int = 10, wait_s: float = 10.0) -> list[Received]:
        """Receive; what spent its receives goes to the DLQ instead."""
        while True:
            received = super().receive(max_messages=max_messages, wait_s=wait_s)
            spent = [one for one in received if one.receive_count > MAX_RECEIVES]
            for one in spent:
                self.ack([one])
                if self.dlq is not None:
                    self.dlq._put(one.body, one.group_id, 0, dict(one.attributes))
            good = [one for one in received if one.receive_count <= MAX_RECEIVES]
            if good or not spent:
                return good


Snapshot = dict[str, Any]


def saved(queue: MemoryQueue) -> Snapshot:
    """Copy what a queue holds."""
    return {name: replace(stored) for name, stored in queue._messages.items()}


def put_back(queue: MemoryQueue, snapshot: Snapshot) -> None:
    """Make a queue hold what it held."""
    queue._messages = saved_of(snapshot)


def saved_of(snapshot: Snapshot) -> Snapshot:
    """Copy a copy."""
    return {name: replace(stored) for name, stored in snapshot.items()}


def grow_old(queue: MemoryQueue, seconds: float) -> None:
    """Stamp every message with an earlier time."""
    for stored in queue._messages.values():
        stored.sent_at -= timedelta(seconds=seconds)


def send_again(queue: MemoryQueue, count: int = 1) -> None:
    """Deliver every message that a queue holds so many times more, as at-least-once allows."""
    for message in queue.peek() * count:
        queue._put(message.body, message.group_id, 0, dict(message.attributes))
