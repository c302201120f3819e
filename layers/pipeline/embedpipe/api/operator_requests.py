"""What operators may ask of the pipeline as a whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from embedpipe.api.fields import CollectionName, digits, whole
from embedpipe.api.requests import PageQuery, Shape
from embedpipe.domain.audit import MAX_NOTE
from embedpipe.ports.skips import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S

#: How long a job must not have moved to count as stuck, if nobody says otherwise: a quarter hour.
IDLE_S = 900

TenantId = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Only of this tenant.")
]
JobId = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        examples=["018f3c1e-7d7a-7c31-9a58-0d3f6a1b2c3d"],
    ),
]
Note = Annotated[
    str, Field(max_length=MAX_NOTE, description="The operator's own words, for the audit log.")
]
Seconds = Annotated[int, Field(ge=0, le=MAX_TTL_S), BeforeValidator(whole)]
SecondsParameter = Annotated[int, Field(ge=0, le=MAX_TTL_S), BeforeValidator(digits)]


class WindowQuery(Shape):
    """How far back to look."""

    window_seconds: Annotated[int, Field(ge=1, le=604_800), BeforeValidator(digits)] = 3600


class OperatorJobsQuery(PageQuery):
    """Which jobs, of all tenants."""

    view: Literal["recent", "failed", "open", "stuck"] = Field(
        default="recent",
        description="recent: newest first. failed: the last one first. open: not final, the "
        "longest unmoved first. stuck: not moved for `idle_seconds`, of no stage that is paused, "
        "and lost: nothing of them waits to be sent, and their queue is empty or others overtook "
        "them.",
    )
    tenant: TenantId | None = None
    idle_seconds: SecondsParameter = IDLE_S


class ResetRequest(Shape):
    """Which stuck jobs start again."""

    idle_seconds: Seconds = IDLE_S
    tenant: TenantId | None = None
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(whole)] = 100
    dry_run: bool = False
    note: Note = ""


class CleanupRequest(Shape):
    """How old what ended must be to be removed."""

    days: Annotated[float, Field(ge=0, le=36_500)]
    dry_run: bool = False
    note: Note = ""


class ClearRequest(Shape):
    """Which open jobs are cancelled: of all tenants, of one, or of one collection."""

    tenant: TenantId | None = None
    collection: CollectionName | None = None
    dry_run: bool = False
    note: Note = ""


class SkipRequest(Shape):
    """Which job is not to be processed, and for how long."""

    job_id: JobId
    ttl_seconds: Annotated[int, Field(ge=MIN_TTL_S, le=MAX_TTL_S), BeforeValidator(whole)] = (
        DEFAULT_TTL_S
    )
    note: Note = ""


class SkipQuery(Shape):
    """Whose skip."""

    job_id: JobId


class AuditQuery(PageQuery):
    """Which acts."""

    action: Annotated[str, Field(max_length=128, examples=["stage.pause"])] | None = None
    actor: Annotated[str, Field(max_length=128)] | None = None
