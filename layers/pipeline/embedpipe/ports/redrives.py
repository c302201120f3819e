"""Port to redrives: all messages of a DLQ go back, by one mover at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from embedpipe.domain.audit import Act


@dataclass(frozen=True)
class Redrive:
    """A redrive as it stands.

    Attributes
    ----------
    status
        running, cancelling, completed, cancelled or failed.
    task_handle
        The backend's task that moves the messages; None where we do.
    reason
        Why it failed.
    """

    stage: str
    redrive_id: str
    status: str
    task_handle: str | None
    max_per_second: int
    to_move: int
    moved: int
    started_by: str
    note: str
    started_at: datetime
    updated_at: datetime
    reason: str

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.status in ("running", "cancelling")


class Redrives(Protocol):
    """Redrives of all stages. Of one stage at most one goes on."""

    def start(self, stage: str, *, max_per_second: int, to_move: int, act: Act) -> Redrive:
        """Begin one and write the act down, or give the one that goes on."""
        ...

    def newest(self, stage: str) -> Redrive | None:
        """Give the newest of a stage."""
        ...

    def lease(self, stage: str, owner: str, lease_s: float) -> Redrive | None:
        """Take the redrive that goes on, for so long; None when there is none or another has it."""
        ...

    def progress(self, redrive: Redrive, owner: str, moved: Sequence[str], lease_s: float) -> bool:
        """Count messages as moved, mark their entries as put back, renew the lease.

        False when that is to be the end of it: it was cancelled, or, and then nothing is changed,
        the lease was lost.
        """
        ...

    def hand_over(self, redrive: Redrive, owner: str, task_handle: str, to_move: int) -> None:
        """Note that the backend's task moves the messages."""
        ...

    def update(
        self, redrive: Redrive, *, status: str, moved: int | None = None, reason: str = ""
    ) -> Redrive:
        """Note how it stands, if it goes on still; give how it stands.

        One that was cancelled meanwhile does not run again.
        """
        ...

    def release(self, redrive: Redrive, owner: str) -> None:
        """Let another go on at once."""
        ...

    def cancel(self, stage: str, act: Act) -> Redrive:
        """Stop the one that goes on, and write the act down.

        Raises ConflictError (REDRIVE_NOT_RUNNING).
        """
        ...
