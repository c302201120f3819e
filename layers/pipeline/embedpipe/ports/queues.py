"""Ports to queues and the object store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Received:
    """One delivery of a message.

    Attributes
    ----------
    receive_count
        Receives so far as the queue counts them, from 1. Not a number of attempts: it counts
        deaths and redrives too.
    group_id
        MessageGroupId, the tenant.
    first_received_at
        When it was received for the first time, where the queue says so.
    trace_header
        What AWS X-Ray calls the trace that it belongs to, where its sender was traced.
    """

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int = 1
    group_id: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    first_received_at: datetime | None = None
    trace_header: str | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether it was delivered before: it may have ended a process."""
        return self.receive_count > 1


@dataclass(frozen=True)
class Outgoing:
    """One message to send; `key` names it inside one call, to tell which ones failed.

    `trace_header` is what AWS X-Ray calls its trace. Functions leave it out: there the client of
    SQS sends that of the invocation.
    """

    key: str
    body: str
    group_id: str
    delay_s: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    trace_header: str | None = None


class Inbox(Protocol):
    """A queue that is read. Four verbs settle or hold a delivery."""

    def receive(self, *, max_messages: int = 10, wait_s: float = 10.0) -> list[Received]:
        """Receive up to 10 messages, waiting up to 20 s for the first."""
        ...

    def ack(self, received: Sequence[Received]) -> None:
        """Remove messages for good. Only after their effect is committed."""
        ...

    def retry(self, received: Received, delay_s: float) -> None:
        """Hand a message back; it is hidden for `delay_s` (0 to 43,200 s)."""
        ...

    def copy_to_dlq(
        self, received: Received, error: Exception, about: Mapping[str, str] | None = None
    ) -> None:
        """Copy a message, byte for byte, to the DLQ with the reason as attributes.

        It stays here until `ack`. Attributes: `domain.dead_letters.REASON`, and as many of its own
        as there is room for. Never the text of the error: it may quote a document.

        Parameters
        ----------
        about
            What the caller knows: job_id, epoch, attempt.
        """
        ...

    def extend(self, received: Sequence[Received], visibility_s: int) -> list[Received]:
        """Hide messages for so long from now; give back those whose lease is lost.

        0 hands them back at once.
        """
        ...


class Outbox(Protocol):
    """A queue that is written."""

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        """Send all, in batches of at most 10 messages and 1 MiB; give the keys that were accepted.

        Raises
        ------
        MessageTooLargeError
            A body is over the limit of one message.
        QueueUnavailableError
            Nothing could be sent.
        """
        ...

    def backlog(self) -> int:
        """Count messages, about: those that wait, are delayed, or are in somebody's hands."""
        ...

    def check(self) -> None:
        """Raise QueueUnavailableError when the queue does not answer."""
        ...


@dataclass(frozen=True)
class Depths:
    """Messages of a queue, about: those that could be received, are in somebody's hands, or wait.

    A message that was handed back with a delay counts as in somebody's hands, as SQS counts it.
    """

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.visible + self.in_flight + self.delayed


class Measured(Protocol):
    """A queue that is looked at."""

    def depths(self) -> Depths:
        """Count messages, about. Raises QueueUnavailableError."""
        ...


@dataclass(frozen=True)
class StoredBlob:
    """An object as a listing shows it; `changed_at` is when it was put last."""

    key: str
    uri: str
    changed_at: datetime


class Blobs(Protocol):
    """Large payloads, by claim check."""

    def put(self, key: str, data: bytes) -> str:
        """Store bytes under a key and give their URI."""
        ...

    def get(self, uri: str) -> bytes:
        """Read bytes. Raises ContentLostError when they are gone."""
        ...

    def delete(self, uri: str) -> None:
        """Remove bytes; no error when they are gone."""
        ...

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[StoredBlob]:
        """List objects by key, after a given one; fewer than `limit`, at most 1,000, at the end."""
        ...
