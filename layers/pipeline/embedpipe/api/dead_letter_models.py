"""What operators ask of dead letters, and what they are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from embedpipe.api.answers import Answer
from embedpipe.api.fields import Cursor, digits, whole
from embedpipe.api.operator_requests import JobId, Note, TenantId
from embedpipe.api.requests import Shape
from embedpipe.api.stage_names import Stage
from embedpipe.errors import InvalidInputError
from embedpipe.ports.dlq_entries import Entry
from embedpipe.ports.redrives import Redrive
from embedpipe.stages.requeue import Requeued

EntryId = Annotated[str, Field(min_length=1, max_length=128, description="Of the listing.")]
ErrorCode = Annotated[str, Field(min_length=1, max_length=64, examples=["POISON_CHUNK"])]
RedriveId = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        description="Go on with this one, and begin no other when it is over.",
    ),
]
PerSecond = Annotated[int, Field(ge=1, le=500), BeforeValidator(whole)]


class DlqQuery(Shape):
    """Which entries; a filter applies to all there are, and not to a page of them."""

    stage: Stage | None = None
    job_id: JobId | None = None
    error_code: ErrorCode | None = None
    tenant: TenantId | None = None
    state: Literal["quarantined", "approved_for_requeue", "ignored", "requeued"] | None = None
    count: Annotated[int, Field(ge=1, le=500), BeforeValidator(digits)] = 50
    cursor: Cursor | None = None


class DlqStateRequest(Shape):
    """What is decided about an entry."""

    stage: Stage
    entry_id: EntryId
    state: Literal["quarantined", "approved_for_requeue", "ignored"]
    operator_note: Note = Field(default="", description="Needed to approve an entry.")


class DlqFilter(Shape):
    """Which approved entries."""

    job_id: JobId | None = None
    error_code: ErrorCode | None = None
    tenant_id: TenantId | None = None


class DlqRequeueRequest(Shape):
    """Which entries go back: one, those of a filter, or without either all that are approved."""

    stage: Stage
    entry_id: EntryId | None = None
    filter: DlqFilter | None = None
    delete_from_dlq: bool = Field(
        default=True,
        description="False leaves the message in the queue: its entry is quarantined again, and "
        "a redrive of the queue would send it a second time.",
    )
    dry_run: bool = False
    max_per_second: PerSecond | None = None
    limit: Annotated[int, Field(ge=1, le=500), BeforeValidator(whole)] = 500

    @model_validator(mode="after")
    def _entry_or_filter(self) -> Self:
        if self.entry_id is not None and self.filter is not None:
            raise InvalidInputError(
                "Give either an entry or a filter.", code="ENTRY_OR_FILTER", field="filter"
            )
        return self


class DlqRedriveRequest(Shape):
    """Which queue goes back as a whole, how fast, and why."""

    stage: Stage
    redrive_id: RedriveId | None = None
    max_per_second: PerSecond | None = None
    dry_run: bool = False
    operator_note: Note = Field(default="", description="Needed to begin one.")


class DlqCancelRequest(Shape):
    """Which redrive stops."""

    stage: Stage
    operator_note: Note = ""


class DlqRefreshRequest(Shape):
    """Which queue is looked at; all if left out."""

    stage: Stage | None = None


class DlqRedriveQuery(Shape):
    """Whose redrive."""

    stage: Stage


class DlqEntryAnswer(Answer):
    """An entry. `preview` never has text, tokens, vectors or secrets; null where none is kept."""

    stage: str
    entry_id: str
    source_queue: str
    tenant_id: str | None
    job_id: str | None
    epoch: int | None
    error_code: str | None
    failure_type: str | None
    state: str
    operator_note: str
    changed_by: str
    changed_at: datetime
    arrived_at: datetime
    expires_at: datetime
    expires_soon: bool
    receive_count: int
    put_back: int
    body_bytes: int
    body_sha256: str
    preview: dict[str, Any] | None

    @classmethod
    def of(cls, entry: Entry, preview: dict[str, Any] | None) -> Self:
        """Describe an entry."""
        own = {name: getattr(entry, name, None) for name in cls.model_fields}
        also = {"state": entry.state.value, "operator_note": entry.note, "preview": preview}
        return cls.model_validate(own | also)


class DlqRefused(Answer):
    """An entry that cannot be put back, and why."""

    entry_id: str
    code: str


class DlqRequeueAnswer(Answer):
    """What went back. Ask again after `retry_after_s` while some are `remaining`."""

    matched: int
    requeued: int
    refused: list[DlqRefused]
    remaining: int
    retry_after_s: int
    dry_run: bool

    @classmethod
    def of(cls, done: Requeued, *, is_dry: bool) -> Self:
        """Describe what was done."""
        return cls(
            matched=done.matched,
            requeued=done.requeued,
            refused=[DlqRefused(entry_id=one, code=code) for one, code in done.refused.items()],
            remaining=done.remaining,
            retry_after_s=done.retry_after_s,
            dry_run=is_dry,
        )


class DlqRedriveAnswer(Answer):
    """A redrive. Ask again while it is `running`: each request moves for some seconds."""

    redrive_id: str | None
    stage: str
    status: Literal["dry_run", "running", "cancelling", "completed", "cancelled", "failed"]
    native: bool
    moved: int
    to_move: int
    remaining: int
    reason: str
    max_per_second: int | None = None
    started_by: str = ""
    started_at: datetime | None = None

    @classmethod
    def of(cls, redrive: Redrive) -> Self:
        """Describe a redrive."""
        left = redrive.to_move - redrive.moved if redrive.is_open else 0
        own = {name: getattr(redrive, name, None) for name in cls.model_fields}
        also = {"native": redrive.task_handle is not None, "remaining": max(0, left)}
        return cls.model_validate(own | also)

    @classmethod
    def dry(cls, stage: str, to_move: int) -> Self:
        """Say what a redrive would move."""
        return cls(
            redrive_id=None,
            stage=stage,
            status="dry_run",
            native=False,
            moved=0,
            to_move=to_move,
            remaining=to_move,
            reason="",
        )


class DlqLooked(Answer):
    """What a look at a queue came to; `complete` when all of it was seen."""

    stage: str
    added: int
    gone: int
    put_back: int
    failed_jobs: int
    complete: bool


class DlqRefreshAnswer(Answer):
    """What was seen of each queue."""

    stages: list[DlqLooked]
