"""Names of stages in bodies and queries, the older ones too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

#: What the stages were called before, and may still be called.
OLDER_NAMES = {"chunking": "chunk", "embedding": "embed", "storage": "store"}


def stage_of(name: Any) -> Any:
    """Give today's name of a stage; anything else passes, for the field to judge."""
    return OLDER_NAMES.get(name, name) if isinstance(name, str) else name


def _named(*names: str) -> Any:
    return Field(
        description="The older names chunking, embedding and storage are taken, too.",
        json_schema_extra={"enum": [*names, *OLDER_NAMES]},
    )


#: A stage of the pipeline. The constraint comes first, so that it gets into the JSON Schema.
Stage = Annotated[
    Literal["chunk", "embed", "store"],
    _named("chunk", "embed", "store"),
    BeforeValidator(stage_of),
]
#: What a control can be asked for: a stage, the door, or all of them.
Controlled = Annotated[
    Literal["submit", "chunk", "embed", "store", "all"],
    _named("submit", "chunk", "embed", "store", "all"),
    BeforeValidator(stage_of),
]
