"""Names of stages, the older ones too."""

from __future__ import annotations

import pytest
from embedpipe.api.stage_names import Controlled, Stage
from pydantic import TypeAdapter, ValidationError

STAGE = TypeAdapter[str](Stage)
CONTROLLED = TypeAdapter[str](Controlled)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("chunk", "chunk"),
        ("chunking", "chunk"),
        ("embed", "embed"),
        ("embedding", "embed"),
        ("store", "store"),
        ("storage", "store"),
    ],
)
def test_today_s_names_and_the_older_ones_are_taken(given: str, meant: str) -> None:
    assert STAGE.validate_python(given) == meant
    assert CONTROLLED.validate_python(given) == meant


def test_controls_also_know_the_door_and_all_of_them() -> None:
    assert [CONTROLLED.validate_python(name) for name in ("submit", "all")] == ["submit", "all"]


@pytest.mark.parametrize("given", ["submit", "all", "Chunk", "storing", "", None, 1, ["chunk"]])
def test_anything_else_is_no_stage(given: object) -> None:
    with pytest.raises(ValidationError):
        STAGE.validate_python(given)


def test_the_schema_says_what_is_taken() -> None:
    names = STAGE.json_schema()["enum"]

    assert names == ["chunk", "embed", "store", "chunking", "embedding", "storage"]
