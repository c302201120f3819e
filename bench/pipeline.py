"""The whole pipeline on the local cloud, beside the bare `session.run` rate of the same chunks.

Run with `make bench`. Prints tables and writes bench/results/pipeline.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import bare, cloud, costs, load, texts

ROOT = Path(__file__).resolve().parent.parent
MODEL = "all-MiniLM-L6-v2"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", type=int, default=1000, help="documents of 500 characters")
    parser.add_argument("--long", type=int, default=100, help="documents of 8,000 characters")
    arguments = parser.parse_args()
    console = Console(width=120)
    models_dir = Path(os.environ.get("MODELS_DIR", ROOT / ".embedpipe" / "models"))
    loads = {
        500: texts.documents(arguments.short, 500),
        8000: texts.documents(arguments.long, 8000),
    }
    report: dict[str, Any] = {"machine": _machine(), "loads": {}}
    with cloud.running() as running:
        load.run(running, "warm-up", texts.documents(20, 500))
        report["start_s"] = running.start_s
        outcomes = {chars: load.run(running, f"c{chars}", docs) for chars, docs in loads.items()}
        report["memory_mb"] = running.rss_mb()
        report["idle_cpu_s_in_10_s"] = _idle(running)
    for chars, docs in loads.items():
        limit = bare.best(models_dir, MODEL, docs)
        report["loads"][chars] = _row(outcomes[chars], limit)
    report["import_ms"] = {
        name: costs.import_ms(f"functions.{name}.app")
        for name in ("api", "chunk", "store", "maintenance")
    }
    report["messages"] = {
        chars: costs.message_bytes(models_dir, MODEL, docs[0]) for chars, docs in loads.items()
    }
    _print(console, report)
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / "pipeline.json").write_text(json.dumps(report, indent=2) + "\n")


def _idle(running: cloud.Cloud) -> float:
    time.sleep(2)
    before = sum(running.cpu_s().values())
    time.sleep(10)
    return sum(running.cpu_s().values()) - before


def _row(outcome: load.Outcome, limit: bare.Bare) -> dict[str, Any]:
    rate = outcome.chunks / outcome.seconds
    return {
        "jobs": outcome.jobs,
        "chunks": outcome.chunks,
        "tokens": outcome.tokens,
        "seconds": outcome.seconds,
        "jobs_per_min": 60 * outcome.jobs / outcome.seconds,
        "chunks_per_s": rate,
        "bare_chunks_per_s": limit.chunks_per_s,
        "bare_budget_tokens": limit.budget,
        "share_of_bare": rate / limit.chunks_per_s,
        "cpu_s": outcome.cpu_s,
        "median_stage_s": outcome.stage_s,
    }


def _machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "arch": platform.machine(), "python": platform.python_version()}


def _print(console: Console, report: dict[str, Any]) -> None:
    rates = Table("characters", "jobs", "chunks", "jobs/min", "chunks/s", "bare chunks/s", "share")
    for chars, row in report["loads"].items():
        rates.add_row(
            str(chars),
            str(row["jobs"]),
            str(row["chunks"]),
            f"{row['jobs_per_min']:.0f}",
            f"{row['chunks_per_s']:.1f}",
            f"{row['bare_chunks_per_s']:.1f}",
            f"{100 * row['share_of_bare']:.0f} %",
        )
    console.print(rates)
    where = Table("CPU ms per job", *[f"{chars} characters" for chars in report["loads"]])
    parts = sorted({part for row in report["loads"].values() for part in row["cpu_s"]})
    for part in parts:
        where.add_row(
            part,
            *[
                f"{1000 * row['cpu_s'].get(part, 0) / row['jobs']:.1f}"
                for row in report["loads"].values()
            ],
        )
    console.print(where)
    for title in ("import_ms", "messages", "memory_mb"):
        console.print(title, {k: _short(v) for k, v in report[title].items()})
    console.print(
        "median seconds", {c: row["median_stage_s"] for c, row in report["loads"].items()}
    )
    console.print(
        "start s", _short(report["start_s"]), "memory MB", sum(report["memory_mb"].values())
    )
    console.print("CPU s used in 10 idle s", _short(report["idle_cpu_s_in_10_s"]))


def _short(value: Any) -> Any:
    return round(value, 1) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
