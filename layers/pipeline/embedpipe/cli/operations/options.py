"""Options of the operator's verbs."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from embedpipe.cli.output import EXIT_USAGE, fail

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Stage(StrEnum):
    """A stage with queues; the older names are taken, too."""

    CHUNK = "chunk"
    EMBED = "embed"
    STORE = "store"
    CHUNKING = "chunking"
    EMBEDDING = "embedding"
    STORAGE = "storage"

    @property
    def today(self) -> str:
        """Its name of today."""
        return _TODAY.get(self.value, self.value)


class Controlled(StrEnum):
    """What can be paused, resumed and drained."""

    ALL = "all"
    SUBMIT = "submit"
    CHUNK = "chunk"
    EMBED = "embed"
    STORE = "store"
    CHUNKING = "chunking"
    EMBEDDING = "embedding"
    STORAGE = "storage"

    @property
    def today(self) -> str:
        """Its name of today."""
        return _TODAY.get(self.value, self.value)


_TODAY = {"chunking": "chunk", "embedding": "embed", "storage": "store"}

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many.")]
Details = Annotated[bool, typer.Option("--details", help="Show everything about each.")]
Confirm = Annotated[
    bool,
    typer.Option("--confirm", "--yes", "-y", help="Do it without asking; needed in scripts."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Note = Annotated[str | None, typer.Option("--note", "-m", help="Why; it is kept in the audit log.")]
Idle = Annotated[
    str, typer.Option("--idle", help="How long a job must not have moved, such as 30m.")
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Only of this tenant.")]
Pace = Annotated[
    int | None,
    typer.Option("--max-per-second", min=1, max=500, help="At most so many in a second."),
]
Window = Annotated[
    str, typer.Option("--window", "-w", help="How far to look back, such as 15m, 1h, 7d.")
]


def seconds_of(value: str, option: str) -> int:
    """Read a duration with its unit; seconds without one.

    Examples
    --------
    >>> [seconds_of(v, "--window") for v in ("90", "15m", "1.5h", "7d")]
    [90, 900, 5400, 604800]
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)?", value.strip())
    if match is None:
        fail(f"{option} {value!r} is no duration", "give 90s, 15m, 6h or 7d", code=EXIT_USAGE)
    return round(float(match[1]) * _UNITS[match[2] or "s"])


def given(**values: object) -> dict[str, object]:
    """Keep what was given: None is left out."""
    return {name: value for name, value in values.items() if value is not None}
