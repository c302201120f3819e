"""Port to putting dead letters back: the part that belongs to the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import JobState
from embedpipe.domain.jobs import JobRef
from embedpipe.ports.dlq_entries import Entry
from embedpipe.ports.jobs import OutboxRow

#: Gives the body of an entry from what the mirror keeps.
Opened = Callable[[Entry, bytes], str]
#: Gives the message that a job begins a new epoch with.
Fresh = Callable[[JobRef, str | None], OutboxRow]


@dataclass(frozen=True)
class Grant:
    """How many entries may be put back now, and after how many seconds the next one may."""

    granted: int
    wait_s: float


class Requeues(Protocol):
    """Puts entries back, by an operator's leave."""

    def requeue(
        self, entry: Entry, act: Act, *, opened: Opened, fresh: Fresh, keeps: bool = False
    ) -> OutboxRow:
        """Put an approved entry back: its job in a new epoch where it failed, and the message.

        One transaction of state, job, outbox row and audit row; of several at once one does it.

        Parameters
        ----------
        keeps
            Whether the message stays in the DLQ: the entry is then quarantined again.

        Raises
        ------
        NotFoundError
            DLQ_ENTRY_NOT_FOUND.
        ConflictError
            NOT_APPROVED, DLQ_ENTRY_OBSOLETE, JOB_SKIPPED, or what `opened` raises.
        """
        ...

    def check(self, entry: Entry) -> None:
        """Raise what `requeue` would raise of itself, and change nothing."""
        ...

    def restart(self, stage: str, epoch: int, job: JobState, fresh: Fresh) -> OutboxRow | None:
        """Open a new epoch for a job that failed in the epoch of a message of a stage.

        None, and nothing changed, when it is not so any more; None too when that message itself
        works for the new epoch.
        """
        ...

    def grant(self, stage: str, wanted: int, *, rate: float, burst: float) -> Grant:
        """Take from the token bucket of a stage, which all share, what it has of `wanted`.

        Parameters
        ----------
        rate
            Tokens that flow in, a second.
        burst
            Tokens that it holds at most.
        """
        ...
