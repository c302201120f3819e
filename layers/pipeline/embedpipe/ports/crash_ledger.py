"""Port to the crash ledger: how often a process died while it worked on a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from embedpipe.domain.jobs import JobRef


@dataclass(frozen=True)
class CrashKey:
    """What a message asks for; its copies and redeliveries have the same."""

    ref: JobRef
    stage: str
    batch_no: int | None = None


class CrashLedger(Protocol):
    """Counts deaths: one more before the work on a suspect, one less after any orderly end of it.

    So only a process that ended without a word leaves a death behind. A suspect is a message that
    was delivered before; others are not written down.
    """

    def begin(self, keys: Sequence[CrashKey]) -> dict[CrashKey, int]:
        """Commit one death more for each; give how many there were before.

        A message whose job is gone has none, and none is written down.
        """
        ...

    def end(self, keys: Sequence[CrashKey]) -> None:
        """Take back what `begin` wrote; never below none."""
        ...
