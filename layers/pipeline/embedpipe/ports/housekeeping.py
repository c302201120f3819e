"""Port to what keeps the database small: compaction, retention, and where they go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from embedpipe.domain.audit import Act


@dataclass(frozen=True)
class Compacted:
    """What compaction removed. `documents` are done; vectors go with their chunks."""

    documents: int = 0
    chunks: int = 0


@dataclass(frozen=True)
class Removed:
    """What went with finished jobs: versions that nothing shows and no other job names."""

    jobs: int = 0
    versions: int = 0


@dataclass(frozen=True)
class OldRecords:
    """Records that outlived their retention."""

    audit: int = 0
    heartbeats: int = 0
    redrives: int = 0


class Housekeeping(Protocol):
    """Removes what is over, a bounded number of rows in each transaction.

    Needs the maintenance role, but for `finished` and `remove_finished`. Two runs at once share
    the work: neither waits for, or repeats, what the other holds.
    """

    def begin(self, name: str, interval_s: float) -> str | None:
        """Give where work that takes several runs goes on; None while it is not due.

        Due: it has never run, the last run left a cursor, or ended `interval_s` ago or longer.
        """
        ...

    def save(self, name: str, cursor: str) -> None:
        """Keep where work goes on; empty when it is done for now."""
        ...

    def hide_deleted(self, *, grace_s: float, limit: int) -> int:
        """Take the visible version from documents deleted longer than `grace_s` ago.

        From then on a restore brings them back without it. Gives how many there were.
        """
        ...

    def remove_hidden(self, *, limit: int) -> Compacted:
        """Remove up to `limit` chunks of documents that `hide_deleted` took; over when all is 0.

        Chunks of a visible version, or one whose job is not final, stay.
        """
        ...

    def unnamed(self, uris: Sequence[str]) -> set[str]:
        """Give the URIs that no document version of any tenant names.

        Refuses a role that does not see them all.
        """
        ...

    def finished(self, *, days: float, limit: int) -> list[tuple[str, str]]:
        """Give tenant and id of jobs that ended `days` ago or longer, oldest first.

        Not those that a skip still holds. As operator, of all tenants.
        """
        ...

    def remove_finished(
        self,
        tenant_id: str,
        job_ids: Sequence[str],
        *,
        days: float,
        dry_run: bool = False,
        act: Act | None = None,
    ) -> Removed:
        """Remove jobs of a tenant that still are finished for so long, and what goes with them.

        The visible version of a document, and its latest one, stay; so does what somebody else
        changes at the moment. The Idempotency-Key of a removed job is free again.

        Parameters
        ----------
        dry_run
            Count, and change nothing.
        act
            Written down in the same transaction, if anything was removed.
        """
        ...

    def remove_records(self, *, audit_days: float, days: float, limit: int) -> OldRecords:
        """Remove old entries of the audit log, heartbeats that stopped, redrives that ended."""
        ...
