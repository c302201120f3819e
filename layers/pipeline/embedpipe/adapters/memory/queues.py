"""Queues in memory, with the manners of SQS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from threading import Condition
from uuid import uuid4

from embedpipe.adapters import claim_check, sqs_rules
from embedpipe.errors import MessageTooLargeError, QueueUnavailableError
from embedpipe.ports import Blobs, Depths, Outgoing, Received

_POLL_S = 0.05


@dataclass
class _Stored:
    message: Received
    visible_at: float
    sent_at: datetime


class MemoryQueue:
    """Inbox and Outbox at once.

    A receipt handle is good for the latest delivery only, also after its time has run out, until
    the message is received again. Several threads may use one queue.

    Attributes
    ----------
    is_available
        Set it False and every call raises QueueUnavailableError, as in an outage.

    Parameters
    ----------
    name
        The queue as the outbox names it; a DLQ copy names it, and the stage that reads it.
    visibility_s
        How long a received message stays hidden.
    clock
        Seconds for delays and visibility. Long polls wait in real time whatever the clock.
    moment
        The time that messages are stamped with.
    """

    def __init__(
        self,
        name: str,
        *,
        visibility_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        moment: Callable[[], datetime] = lambda: datetime.now(UTC),
        dlq: MemoryQueue | None = None,
        max_message_bytes: int = sqs_rules.MAX_BATCH_BYTES,
        blobs: Blobs | None = None,
    ) -> None:
        self.name = name
        self.stage = name.partition("_")[0]
        self.dlq = dlq
        self.is_available = True
        self._visibility_s = visibility_s
        self._clock = clock
        self._moment = moment
        self._limit_bytes = sqs_rules.body_limit_bytes(max_message_bytes)
        self._blobs = blobs
        self._messages: dict[str, _Stored] = {}
        self._changed = Condition()

    def __repr__(self) -> str:
        return f"MemoryQueue({self.name!r}, depth={self.depth}, in_flight={self.in_flight})"

    # Inbox

    def receive(self, *, max_messages: int = 10, wait_s: float = 10.0) -> list[Received]:
        """Receive up to 10 messages, oldest first, waiting for the first."""
        sqs_rules.check_receive(max_messages, wait_s)
        deadline = time.monotonic() + wait_s
        with self._changed:
            while True:
                self._check()
                if taken := self._take(max_messages):
                    return taken
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                self._changed.wait(min(left, _POLL_S))

    def ack(self, received: Sequence[Received]) -> None:
        """Remove messages; one that is gone or was delivered again is left alone."""
        with self._changed:
            self._check()
            for delivery in received:
                if self._held(delivery):
                    del self._messages[delivery.message_id]

    def retry(self, received: Received, delay_s: float) -> None:
        """Hand a message back, hidden for `delay_s`; one that is gone is no error."""
        self._change([received], min(max(delay_s, 0.0), sqs_rules.MAX_RETRY_S))

    def extend(self, received: Sequence[Received], visibility_s: int) -> list[Received]:
        """Hide messages for longer; give back those whose lease is lost."""
        sqs_rules.check_visibility(visibility_s)
        return self._change(received, visibility_s)

    def copy_to_dlq(
        self, received: Received, error: Exception, about: Mapping[str, str] | None = None
    ) -> None:
        """Copy a message to the DLQ with the reason as attributes."""
        if self.dlq is None:
            raise RuntimeError(f"queue {self.name} has no DLQ")
        with self._changed:
            self._check()
        attributes = sqs_rules.reason(received, error, self.stage, self.name, about)
        self.dlq._put(received.body, received.group_id, 0, attributes, received.trace_header)

    # Outbox

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        """Send all; a body over the limit goes by claim check where there is an object store."""
        sqs_rules.check_unique(messages)
        ready = claim_check.all_ready(messages, self._ready, self._fits)
        for message in ready:
            self._put(
                message.body,
                message.group_id,
                message.delay_s,
                dict(message.attributes),
                message.trace_header,
            )
        return {message.key for message in ready}

    def check(self) -> None:
        """Raise QueueUnavailableError when it is set so."""
        self._check()

    # Inspection

    def peek(self) -> list[Received]:
        """Give every message that is not removed, oldest first, and change nothing."""
        with self._changed:
            return [stored.message for stored in self._messages.values()]

    def bodies(self) -> list[str]:
        """Give the body of every message that is not removed, oldest first."""
        return [message.body for message in self.peek()]

    def backlog(self) -> int:
        """Count messages: those that wait, are delayed, or are in somebody's hands."""
        with self._changed:
            self._check()
            return len(self._messages)

    def depths(self) -> Depths:
        """Count messages by what becomes of them."""
        with self._changed:
            self._check()
            visible, in_flight = self.depth, self.in_flight
            return Depths(visible, in_flight, len(self._messages) - visible - in_flight)

    @property
    def depth(self) -> int:
        """How many messages could be received now."""
        with self._changed:
            now = self._clock()
            return sum(stored.visible_at <= now for stored in self._messages.values())

    @property
    def in_flight(self) -> int:
        """How many messages were received, or handed back with a delay, and are hidden still."""
        with self._changed:
            now = self._clock()
            return sum(
                stored.visible_at > now and stored.message.receive_count > 0
                for stored in self._messages.values()
            )

    def sent_at(self, message_id: str) -> datetime:
        """Say when a message was sent."""
        with self._changed:
            return self._messages[message_id].sent_at

    def clear(self) -> None:
        """Remove every message."""
        with self._changed:
            self._messages.clear()

    def _check(self) -> None:
        if not self.is_available:
            raise QueueUnavailableError

    def _take(self, max_messages: int) -> list[Received]:
        now = self._clock()
        visible = (stored for stored in self._messages.values() if stored.visible_at <= now)
        taken = []
        for stored in islice(visible, max_messages):
            stored.message = replace(
                stored.message,
                receipt_handle=uuid4().hex,
                receive_count=stored.message.receive_count + 1,
                first_received_at=stored.message.first_received_at or datetime.now(UTC),
            )
            stored.visible_at = now + self._visibility_s
            taken.append(stored.message)
        return taken

    def _held(self, delivery: Received) -> _Stored | None:
        stored = self._messages.get(delivery.message_id)
        if stored is None or stored.message.receipt_handle != delivery.receipt_handle:
            return None
        return stored

    def _change(self, received: Sequence[Received], visibility_s: float) -> list[Received]:
        with self._changed:
            self._check()
            now = self._clock()
            lost = []
            for delivery in received:
                stored = self._held(delivery)
                if stored is None or stored.visible_at <= now:
                    lost.append(delivery)
                else:
                    stored.visible_at = now + visibility_s
            self._changed.notify_all()
            return lost

    def _ready(self, message: Outgoing) -> Outgoing:
        sqs_rules.check_outgoing(message)
        if self._fits(message):
            return message
        if self._blobs is None:
            raise MessageTooLargeError
        return replace(message, body=claim_check.check_in(message.body, self._blobs))

    def _fits(self, message: Outgoing) -> bool:
        return sqs_rules.size_bytes(message.body, message.attributes) <= self._limit_bytes

    def _put(
        self,
        body: str,
        group_id: str | None,
        delay_s: int,
        attributes: dict[str, str],
        trace_header: str | None = None,
    ) -> None:
        with self._changed:
            self._check()
            message_id = str(uuid4())
            self._messages[message_id] = _Stored(
                Received(message_id, "", body, 0, group_id, attributes, None, trace_header),
                self._clock() + delay_s,
                self._moment(),
            )
            self._changed.notify_all()
