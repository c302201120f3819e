"""What the command line prints: tables for people, JSON for programs, errors on one line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

#: Something went wrong while doing what was asked.
EXIT_FAILED = 1
#: What was asked makes no sense or cannot be begun.
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

FILE_WIDTH = 200
# What moves the cursor, rings or names the window, where somebody's text is printed.
_CONTROLS = {code: "\ufffd" for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}
UNFOLDED = frozenset({"job", "status", "entry", "stage", "state", "worker"})


def console() -> Console:
    """Give standard output; wide where it is no terminal, so that nothing is folded in a file."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = FILE_WIDTH
    return made


def progress_console() -> Console:
    """Give standard error, for what is not the result."""
    return Console(stderr=True, highlight=False)


def printable(text: str) -> str:
    r"""Give a text that does nothing to a terminal but stand there.

    Examples
    --------
    >>> printable("a\x1b[2Jb"), printable("two\\nlines")
    ('a\ufffd[2Jb', 'two\\nlines')
    """
    return text.translate(_CONTROLS)


def emit_json(value: Any) -> None:
    """Print a result for programs."""
    written = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    # JSON escapes the other controls itself.
    typer.echo(re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", written))


def fail(message: str, hint: str = "", *, code: int = EXIT_FAILED) -> NoReturn:
    """Say on standard error what is wrong and what to do, and end."""
    said = f"error: {message.removesuffix('.')}; {hint}" if hint else f"error: {message}"
    typer.echo(printable(said), err=True)
    raise typer.Exit(code)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Make a table; a column whose name begins with `#` holds numbers, and is not folded."""
    made = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in columns:
        is_number = column.startswith("#")
        made.add_column(
            column.removeprefix("#"),
            justify="right" if is_number else "left",
            no_wrap=is_number or column in UNFOLDED,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    return made


def pairs(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Make a table of names and what they say, without a header."""
    made = table(title, ("name", "value"), rows)
    made.show_header = False
    made.columns[0].style = "bold"
    made.columns[0].no_wrap = True
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
