"""Tables of a contest: on the terminal, and in Markdown to copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Summary = Mapping[str, Any]
COLUMNS = (
    "Engine",
    "Setting",
    "Tokens/s",
    "Range",
    "Tokens/CPU-s",
    "Useful",
    "Of the limit",
    "Outside `run`",
    "Least cosine",
)


def with_places(rows: Sequence[Summary], *, limit: str) -> list[dict[str, Any]]:
    """Add to each row its share of the limit, and whether its engine has no faster row."""
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        key, rate = (row["mix"], row["engine"]), row.get("tokens_per_s", 0.0)
        best[key] = max(best.get(key, 0.0), rate)
    placed = []
    for row in rows:
        rate, of_limit = row.get("tokens_per_s", 0.0), best.get((row["mix"], limit), 0.0)
        is_best = rate == best[row["mix"], row["engine"]]
        share = rate / of_limit if rate and of_limit else None
        placed.append({**row, "of_limit": share, "is_best": is_best})
    return placed


def chosen(rows: Sequence[Summary]) -> list[Summary]:
    """Give the rows to show: of each engine its best and its default, and all that have a label.

    Examples
    --------
    >>> rows = [{"label": "", "is_best": best, "is_default": False} for best in (True, False)]
    >>> chosen(rows) == rows[:1]
    True
    """
    return [row for row in rows if row["is_best"] or row["is_default"] or row["label"]]


def cells(row: Summary) -> list[str]:
    """Give one row as text."""
    name = " ".join(filter(None, [row["engine"], row["label"]]))
    if row["is_default"]:
        name += ", default (its best)" if row["is_best"] else ", default"
    if "tokens_per_s" not in row:
        return [name, f"did not run: {row['error']}", *[""] * (len(COLUMNS) - 2)]
    low, high = row["tokens_per_s_range"]
    return [
        name,
        row["setting"],
        f"{row['tokens_per_s']:,.0f}",
        f"{low:,.0f}-{high:,.0f}",
        f"{row['tokens_per_cpu_s']:,.0f}",
        _share(row["useful_share"]),
        _share(row["of_limit"]),
        _share(row["outside_run_share"]),
        _cosine(row["cosine_min"]),
    ]


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a table for docs/benchmarks.md.

    Examples
    --------
    >>> print(markdown("Title", ["a", "b"], [["1", "2"]]))
    Title
    <BLANKLINE>
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [title, "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def show(
    console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print a table on the terminal."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(header):
        table.add_column(column, justify="left" if number < 2 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _cosine(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
