"""The tables of docs/cost.md: what `embedpipe plan` says of some sizes, side by side.

    python -m bench.cost_tables

writes them between their marks; a test holds the page to what the program says today.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedpipe.cli.main import app
from embedpipe.cli.plan.words import amount, dollars, span
from typer.testing import CliRunner

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cost.md"
BEGIN, END = "<!-- bench.cost_tables: {} -->", "<!-- end -->"

#: Name and arguments of each size.
SIZES = {
    "hobby": "--documents 2000 --together 50",
    "hobby, cheap": "--documents 2000 --together 50 --compute cpu --database given --network none",
    "100,000 a month": "--documents 100000 --slo 60 --compute cpu",
    "100 M tokens a day": "--documents 200000 --per day --tokens 500 --slo 60 --months 12",
    "the same, searched": "--documents 200000 --per day --tokens 500 --slo 60 --keep 3 "
    "--queries 2 --collections 1000 --vector-type halfvec",
}
IDLE = {
    "as it comes": "--documents 1 --together 1 --months 1",
    "database that pauses": "--documents 1 --months 1 --database aurora-pause",
    "a CPU task always there": "--documents 1 --months 1 --compute cpu --min-tasks 1",
    "a GPU task always there": "--documents 1 --months 1 --min-tasks 1",
    "least": "--documents 1 --months 1 --compute cpu --database given --network none --no-tracing",
}
_CHEAPER = "100,000 a month, on a GPU"
_CHEAPER_ARGUMENTS = "--documents 100000"

Made = Mapping[str, Any]


def planned(arguments: str) -> Made:
    """Run the program."""
    result = CliRunner().invoke(app, ["plan", *arguments.split(), "--json"])
    if result.exit_code:
        raise SystemExit(result.output)
    return dict(json.loads(result.stdout))


def tables() -> dict[str, str]:
    """Give all tables, by name."""
    made = {name: planned(arguments) for name, arguments in SIZES.items()}
    idle = {name: planned(arguments) for name, arguments in IDLE.items()}
    return {
        "commands": "\n".join(
            ["| Size | Command |", "|---|---|"]
            + [f"| {name} | `embedpipe plan {arguments}` |" for name, arguments in SIZES.items()]
        ),
        "sizes": _side_by_side("A month, USD", made, _costs(made)),
        "needs": _side_by_side("What it takes", made, _NEEDS),
        "idle": _side_by_side("A month, USD", idle, _costs(idle)[:-2]),
        "idle commands": "\n".join(
            f"- {name}: `embedpipe plan {arguments}`" for name, arguments in IDLE.items()
        ),
        "cheaper": _cheaper(),
    }


Row = tuple[str, Callable[[Made], str]]


def _costs(made: Mapping[str, Made]) -> list[Row]:
    components = dict.fromkeys(key for one in made.values() for key in one["components"])
    rows: list[Row] = [(key, _component(key)) for key in components]
    rows.append(("**total**", lambda one: f"**{dollars(one['monthly_usd'])}**"))
    rows.append(("a million documents", lambda one: dollars(one["usd_per_million_documents"])))
    rows.append(("a million tokens", lambda one: dollars(one["usd_per_million_tokens"])))
    return rows


def _component(key: str) -> Callable[[Made], str]:
    return lambda one: dollars(one["components"].get(key, 0.0))


def _function(name: str, key: str) -> Callable[[Made], str]:
    def cell(one: Made) -> str:
        [found] = [function for function in one["functions"] if function["name"] == name]
        return amount(found[key])

    return cell


_NEEDS: list[Row] = [
    ("chunks of a document", lambda one: amount(one["document"]["chunks"])),
    ("chunk invocations at once, allowed", _function("chunk", "concurrency")),
    ("store invocations at once, allowed", _function("store", "concurrency")),
    ("embed tasks always, at the peak", lambda one: _tasks(one["embedding"])),
    ("task hours", lambda one: amount(one["embedding"]["task_hours"])),
    ("post to searchable, 95 of 100", lambda one: span(one["embedding"]["latency_s"])),
    ("the same from no task", lambda one: span(one["embedding"]["from_zero_s"])),
    ("SQS requests about messages", lambda one: amount(one["requests"]["of_messages"])),
    (
        "SQS requests of idle polls",
        lambda one: amount(
            one["requests"]["of_mappings"]
            + one["requests"]["of_idle_tasks"]
            + one["requests"]["of_maintenance"]
        ),
    ),
    ("chunks stored in the end", lambda one: amount(one["storage"]["chunks"])),
    ("database, GB", lambda one: amount(one["storage"]["gb"])),
    (
        "Aurora units, mean, peak",
        lambda one: f"{one['storage']['mean_acu']:,.1f}, {one['storage']['peak_acu']:,.1f}",
    ),
    ("database time of a search", lambda one: span(one["storage"]["search_ms"] / 1000)),
]


def _tasks(embedding: Made) -> str:
    return f"{embedding['min_tasks']}, {embedding['tasks']}"


def _side_by_side(corner: str, made: Mapping[str, Made], rows: Sequence[Row]) -> str:
    lines = [f"| {corner} | {' | '.join(made)} |", "|---|" + "---:|" * len(made)]
    lines += [
        f"| {name} | {' | '.join(cell(one) for one in made.values())} |" for name, cell in rows
    ]
    return "\n".join(lines)


def _cheaper() -> str:
    made = planned(_CHEAPER_ARGUMENTS)
    lines = ["| Instead | Saves, USD a month | At the price of |", "|---|---:|---|"]
    lines += [
        f"| {one['what']} | {dollars(one['saving_usd'])} | {one['price']} |"
        for one in made["cheaper"]
    ]
    return "\n".join(lines)


def with_tables(page: str, found: Mapping[str, str]) -> str:
    """Put tables between their marks."""
    for name, table in found.items():
        begin = BEGIN.format(name)
        before, _, rest = page.partition(begin)
        if not rest:
            raise SystemExit(f"the page has no place for {name}")
        _, _, after = rest.partition(END)
        page = f"{before}{begin}\n{table}\n{END}{after}"
    return page


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_tables(PAGE.read_text(), tables()))


if __name__ == "__main__":
    main()
