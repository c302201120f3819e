"""What stage control takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from embedpipe.api.answers import Answer
from embedpipe.api.requests import Shape
from embedpipe.api.stage_names import Controlled
from embedpipe.domain.audit import MAX_NOTE


class ControlRequest(Shape):
    """What a stage is to do: receive nothing, work, or run empty while nothing is admitted."""

    stage: Controlled
    action: Literal["pause", "resume", "drain"]
    note: Annotated[str, Field(max_length=MAX_NOTE)] = Field(
        default="", description="Why, for the audit log and for whoever looks at the stage."
    )


class ControlAnswer(Answer):
    """What a stage is let do.

    `drained`: it is draining, and it and those before it have run empty. `event_source`: the state
    of the mapping that receives for its function; null where there is none, or it cannot be said.
    """

    state: Literal["running", "paused", "draining"]
    changed_by: str
    changed_at: datetime
    note: str
    drained: bool
    event_source: str | None


class ControlProblem(Answer):
    """What went wrong besides: what could not be switched, or not be said."""

    stage: str | None
    code: str


class ControlsAnswer(Answer):
    """Every stage by its name, the door `submit` included."""

    stages: dict[str, ControlAnswer]
    problems: list[ControlProblem]
