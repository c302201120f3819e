"""Run the scenarios, print tables, write plots.

    python -m bench.scaling [--quick] [--docs]

Writes bench/results/scaling.json and .svg; `--docs` puts the plots and tables into docs/.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from embedpipe.domain.capacity.choices import Compute
from rich.console import Console

from bench.scaling import plot, scenarios, validation
from bench.scaling.pipeline import Outcome, Setting

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- bench.scaling: {} -->", "<!-- end -->"
_TRACKED = (
    "Divided by tasks that are",
    "ScaleOutCooldown",
    "Counts later by",
    "Most tasks",
    "Task hours",
    "Last stored",
)
_BURSTS = (
    "Burst, from no task to none",
    "First stored",
    "Last stored",
    "At zero",
    "Most tasks",
    "Task hours",
    "USD",
    "Lost",
    "Twice",
)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer documents")
    parser.add_argument("--docs", action="store_true", help="write docs/capacity.md's parts")
    arguments = parser.parse_args()
    tables, plots = everything(0.2 if arguments.quick else 1.0)
    console = Console(width=140)
    for name, text in tables.items():
        console.print(f"\n{name}\n{text}", markup=False)
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / "scaling.json").write_text(json.dumps(tables, indent=2) + "\n")
    for folder in [results, *([ROOT / "docs" / "plots"] if arguments.docs else [])]:
        folder.mkdir(exist_ok=True)
        for name, drawing in plots.items():
            (folder / f"scaling-{name}.svg").write_text(drawing)
    if arguments.docs:
        page = ROOT / "docs" / "capacity.md"
        page.write_text(with_tables(page.read_text(), tables))


def everything(size: float) -> tuple[dict[str, str], dict[str, str]]:
    """Run all scenarios; give tables in Markdown, and plots."""
    bursts, tracked = list(_bursts(size)), list(_tracked(size))
    tables = {
        "bursts": markdown(_BURSTS, [_burst_row(name, outcome) for name, outcome in bursts]),
        "tracking": markdown(_TRACKED, [row for row, _ in tracked]),
        "interruptions": _interruptions(size),
        "linearity": _linearity(size),
        "validation": validation.table(),
    }
    plots = {
        "burst": _burst_plot("A burst of long reports, GPU tasks", bursts[3][1]),
        "tracking": _burst_plot("Divided by wanted tasks, 300 s", tracked[0][1]),
        "tracking-running": _burst_plot("Divided by running tasks, 120 s", tracked[3][1]),
    }
    return tables, plots


def _bursts(size: float) -> Iterator[tuple[str, Outcome]]:
    pages, reports = Setting(scenarios.PAGES), Setting(scenarios.REPORT, compute=Compute.GPU)
    more_each = replace(pages.policies, target=1000.0)
    one = scenarios.first_vector
    yield "one document, GPU", one(Compute.GPU)
    yield "one document, CPU", one(Compute.CPU)
    many, long = int(20_000 * size), int(6000 * size)
    for count in (long, 10 * long):
        yield f"{count:,} reports in 10 min, GPU", scenarios.burst(reports, count, within_s=600)
    yield f"{many:,} pages in 10 min, CPU", scenarios.burst(pages, many, within_s=600)
    patient = replace(pages, given=more_each)
    yield "the same, EmbedBacklogPerTask=1000", scenarios.burst(patient, many, within_s=600)


def _tracked(size: float) -> Iterator[tuple[Sequence[Any], Outcome]]:
    for late, (per_wanted, cooldown_s) in product((0, 2), product((True, False), (300, 120))):
        outcome = scenarios.tracked(
            int(30_000 * size), per_wanted=per_wanted, cooldown_s=cooldown_s, late=late
        )
        row = (
            "wanted" if per_wanted else "running",
            f"{cooldown_s} s",
            f"{late} min",
            outcome.peak_tasks,
            f"{outcome.task_hours:.2f}",
            f"{outcome.last_s:.0f} s",
        )
        yield row, outcome


def _burst_row(name: str, outcome: Outcome) -> Sequence[Any]:
    return (
        name,
        f"{outcome.first_s:.0f} s",
        f"{outcome.last_s:.0f} s",
        "-" if outcome.at_zero_s is None else f"{outcome.at_zero_s:.0f} s",
        outcome.peak_tasks,
        f"{outcome.task_hours:.2f}",
        f"{outcome.usd:.2f}",
        outcome.lost,
        outcome.computed_twice,
    )


def _interruptions(size: float) -> str:
    rows = []
    documents = int(6000 * size)
    for name, notice in (("two minutes' notice", True), ("none", False)):
        outcome = scenarios.interrupted(notice=notice, documents=documents)
        counts = (outcome.posted, outcome.stored, outcome.lost, outcome.computed_twice)
        rows.append((name, *counts, f"{outcome.last_s:.0f} s"))
    return markdown(("Notice", "Posted", "Stored", "Lost", "Twice", "All stored after"), rows)


def _linearity(size: float) -> str:
    each = int(300 * size) + 100
    cases = {
        "CPU tasks": scenarios.linearity(database_vcpu=2, each=each),
        "GPU tasks": scenarios.linearity(database_vcpu=2, compute=Compute.GPU, each=each),
    }
    rows: dict[int, list[str]] = {}
    for found in cases.values():
        for count, rate, ratio, busy in found:
            cells = [f"{rate:.1f}", f"{ratio:.2f}", f"{100 * busy:.0f} %"]
            rows.setdefault(count, []).extend(cells)
    head = [f"{case}: {what}" for case in cases for what in ("documents/s", "times", "database")]
    table = [(count, *cells) for count, cells in rows.items()]
    return markdown(("Workers a stage", *head), table)


def _burst_plot(title: str, outcome: Outcome) -> str:
    most = max(1, *(one.visible for one in outcome.samples))
    tasks = max(1, outcome.peak_tasks)
    curves: dict[str, plot.Points] = {
        "running tasks": [(one.at_s, one.running) for one in outcome.samples],
        "wanted": [(one.at_s, one.desired) for one in outcome.samples],
        f"waiting / {most // tasks or 1}": [
            (one.at_s, one.visible * tasks / most) for one in outcome.samples
        ],
    }
    return plot.lines(title, "seconds", curves)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a table."""
    head = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join([*head, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def with_tables(page: str, tables: dict[str, str]) -> str:
    """Put tables between their marks."""
    for name, table in tables.items():
        begin = BEGIN.format(name)
        before, _, rest = page.partition(begin)
        if rest:
            _, _, after = rest.partition(END)
            page = f"{before}{begin}\n{table}\n{END}{after}"
    return page


if __name__ == "__main__":
    main()
