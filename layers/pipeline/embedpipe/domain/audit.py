"""What operators did, for the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

#: How much of a note is kept, in characters.
MAX_NOTE = 1000


@dataclass(frozen=True)
class Actor:
    """Who acts: the tenant and the id of the API key, or who uses the command line."""

    tenant_id: str
    name: str


@dataclass(frozen=True)
class Act:
    """One administrative act, written in the transaction that does it.

    Attributes
    ----------
    action
        `noun.verb`: `stage.pause`, `job.skip`, `dlq.approve`.
    subject
        What it was done to: a stage, a job's id, `stage/entry_id`.
    note
        The operator's own words. At most MAX_NOTE characters are kept.
    """

    actor: Actor
    action: str
    subject: str
    note: str = ""


@dataclass(frozen=True)
class AuditEntry:
    """One act as it was written down; `result` says what came of it."""

    audit_id: int
    tenant_id: str
    actor: str
    action: str
    subject: str
    result: str
    note: str
    at: datetime
