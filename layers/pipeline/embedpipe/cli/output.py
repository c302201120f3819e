"""What the command line prints: tables for people, JSON for programs, errors on one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

#: Something went wrong while doing what was asked.
EXIT_FAILED = 1
#: What was asked makes no sense or cannot be begun.
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def console() -> Console:
    """Give standard output."""
    return Console(highlight=False)


def progress_console() -> Console:
    """Give standard error, for what is not the result."""
    return Console(stderr=True, highlight=False)


def emit_json(value: Any) -> None:
    """Print a result for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def fail(message: str, hint: str = "", *, code: int = EXIT_FAILED) -> NoReturn:
    """Say on standard error what is wrong and what to do, and end."""
    typer.echo(f"error: {message}" + (f"; {hint}" if hint else ""), err=True)
    raise typer.Exit(code)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Make a table; a column whose name begins with `#` is right-aligned."""
    made = Table(title=title or None, title_justify="left", header_style="bold", pad_edge=False)
    for column in columns:
        justify: Any = "right" if column.startswith("#") else "left"
        made.add_column(column.removeprefix("#"), justify=justify, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Give the seconds between two times of the API; None when one is missing."""
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def duration(value: float | None) -> str:
    """Give seconds for people."""
    if value is None:
        return ""
    return f"{value:.2f} s" if value < 100 else f"{value / 60:.1f} min"
