"""Port to the mirror of the dead-letter queues, which stay the place of record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EntryState, JobState
from embedpipe.ports.paging import Page


@dataclass(frozen=True)
class NewEntry:
    """An entry as it is first seen. `body` and `preview` may be sealed, with the key `key_id`.

    `tenant_id` is given only when that tenant has the job.
    """

    stage: str
    entry_id: str
    source_queue: str
    body: bytes
    body_bytes: int
    body_sha256: str
    sent_at: datetime
    expires_at: datetime
    tenant_id: str | None = None
    job_id: str | None = None
    epoch: int | None = None
    batch_no: int | None = None
    error_code: str | None = None
    failure_type: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    preview: bytes | None = None
    key_id: str | None = None
    receive_count: int = 1
    put_back: int = 0


@dataclass(frozen=True)
class Entry:
    """An entry as the mirror has it, without its body."""

    stage: str
    entry_id: str
    source_queue: str
    tenant_id: str | None
    job_id: str | None
    epoch: int | None
    batch_no: int | None
    error_code: str | None
    failure_type: str | None
    preview: bytes | None
    body_bytes: int
    body_sha256: str
    key_id: str | None
    receive_count: int
    put_back: int
    state: EntryState
    note: str
    changed_by: str
    changed_at: datetime
    sent_at: datetime
    arrived_at: datetime
    expires_at: datetime
    expires_soon: bool


@dataclass(frozen=True)
class Seen:
    """What the mirror knew of a message that was seen again."""

    state: EntryState
    is_decided: bool


@dataclass(frozen=True)
class Known:
    """What the mirror knows of a DLQ.

    Attributes
    ----------
    entries
        How many it has, those aside that were put back.
    requeued
        How many were put back, as far as nobody has seen that they are gone.
    is_stale
        Whether the oldest of them was not seen for an hour.
    """

    entries: int = 0
    requeued: int = 0
    is_stale: bool = False


@dataclass(frozen=True)
class EntryFilter:
    """Which entries; what is None does not matter."""

    stage: str | None = None
    job_id: str | None = None
    error_code: str | None = None
    tenant_id: str | None = None
    state: EntryState | None = None


class DlqEntries(Protocol):
    """Entries of all tenants, for operators and maintenance."""

    def known(self, stage: str) -> Known:
        """Say what the mirror knows of a DLQ."""
        ...

    def scan_began(self, stage: str, lasts_s: int) -> datetime:
        """Give when the present scan of a DLQ began; a new one begins after `lasts_s`."""
        ...

    def seen(self, stage: str, receive_counts: Mapping[str, int]) -> dict[str, Seen]:
        """Note that messages were seen; give what the mirror knew of those that it has."""
        ...

    def states(self, stage: str, entry_ids: Sequence[str]) -> dict[str, EntryState]:
        """Give the states of those that the mirror has."""
        ...

    def add(self, entries: Sequence[NewEntry]) -> None:
        """Add entries, quarantined; one that is there stays as it is."""
        ...

    def forget(self, stage: str, entry_ids: Sequence[str]) -> None:
        """Remove entries whose messages are gone."""
        ...

    def end_scan(self, stage: str, began: datetime, total: int) -> int:
        """End a scan that came to the end of its DLQ; give how many entries are gone.

        What was not seen since it began is gone, if as many were seen as the queue has (`total`):
        else some were in somebody's hands, and nothing is removed.
        """
        ...

    def remove_expired(self) -> int:
        """Remove entries whose messages SQS has removed."""
        ...

    def expiring(self) -> int:
        """Count the entries that expire soon."""
        ...

    def jobs(self, named: Sequence[tuple[str, str]]) -> dict[tuple[str, str], JobState]:
        """Give the jobs there are, by tenant and id."""
        ...

    def get(self, stage: str, entry_id: str) -> Entry:
        """Read one. Raises NotFoundError (DLQ_ENTRY_NOT_FOUND)."""
        ...

    def list(
        self, wanted: EntryFilter, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Entry]:
        """List all that are wanted, newest first. Raises InvalidInputError (INVALID_CURSOR)."""
        ...

    def count(self, wanted: EntryFilter) -> int:
        """Count all that are wanted."""
        ...

    def decide(self, stage: str, entry_id: str, state: EntryState, act: Act) -> Entry:
        """Set the state of an entry, with the operator's note, and write the act down.

        One transaction. Raises NotFoundError (DLQ_ENTRY_NOT_FOUND), or ConflictError
        (DLQ_ENTRY_REQUEUED) for one that was put back.
        """
        ...

    def withdraw(self, stage: str, entry_id: str) -> None:
        """Set an approved entry quarantined again, as it cannot be put back."""
        ...
