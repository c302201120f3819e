"""Port to a dead-letter queue: the place of record of what could not be worked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from embedpipe.ports.queues import Received


@dataclass(frozen=True)
class DeadLetter:
    """One delivery of a message of a DLQ.

    Attributes
    ----------
    source_queue
        The queue that it was in, as the outbox names it; the stage's own where nobody says.
    sent_at
        When it was sent: what its retention counts from.
    wire
        All attributes as the backend writes them, to send them back as they were.
    """

    received: Received
    source_queue: str
    sent_at: datetime
    wire: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry_id(self) -> str:
        """The message's id, as long as it lies in the DLQ."""
        return self.received.message_id

    @property
    def put_back(self) -> int:
        """How often it was put back because its receives were spent."""
        count = self.received.attributes.get("put_back", "0")
        return int(count) if count.isdecimal() and count.isascii() and len(count) < 6 else 0

    @property
    def error_code(self) -> str | None:
        """Why it is here; None says no more than that its receives were spent."""
        return self.received.attributes.get("error_code")


@dataclass(frozen=True)
class Depth:
    """About how many messages there are: all, and of these in somebody's hands."""

    total: int
    held: int = 0


@dataclass(frozen=True)
class MoveTask:
    """A move of all messages that the backend does by itself; `status` is as the backend names it.

    `handle` is empty when it does not run any more.
    """

    status: str
    moved: int
    to_move: int
    started_ms: int
    handle: str = ""
    reason: str = ""


class DeadLetters(Protocol):
    """The DLQ of one stage, and the queues that its messages came from.

    Every method but `stage` raises QueueUnavailableError.
    """

    @property
    def stage(self) -> str:
        """Whose it is."""
        ...

    def depth(self) -> Depth:
        """Count messages, about."""
        ...

    def receive(
        self, *, max_messages: int = 10, wait_s: float = 1.0, visibility_s: int = 30
    ) -> list[DeadLetter]:
        """Receive up to 10, hidden from others for so long."""
        ...

    def hide(self, letters: Sequence[DeadLetter], visibility_s: int) -> None:
        """Hide some for so long from now; 0 lets others see them at once."""
        ...

    def delete(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Remove some for good; give back those that could not be removed."""
        ...

    def send_back(self, letters: Sequence[DeadLetter], *, counts: bool = False) -> list[DeadLetter]:
        """Send some to where they came from, byte for byte; give those that were accepted.

        Their own attributes go along, those that say why they were here do not. They stay here.

        Parameters
        ----------
        counts
            Whether the message says afterwards that it was put back once more.
        """
        ...

    def has_move_tasks(self) -> bool:
        """Whether the backend moves messages by itself; asked once."""
        ...

    def start_move(self, max_per_second: int) -> str:
        """Have all messages moved to the stage's normal queue, byte for byte; give a handle.

        Raises ConflictError (REDRIVE_RUNNING) when one runs, whoever started it.
        """
        ...

    def newest_move(self) -> MoveTask | None:
        """Give the newest of the backend's tasks; None when there was none lately."""
        ...

    def cancel_move(self, handle: str) -> None:
        """Stop a task; nothing when it has ended."""
        ...
