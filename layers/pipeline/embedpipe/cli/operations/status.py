"""`embedpipe status`: what waits where, and what is let do what."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from embedpipe.cli import output
from embedpipe.cli.client import Api
from embedpipe.cli.operations import calls, words
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

STAGES = ("submit", "chunk", "embed", "store")
LANES = {"embed_high": "high", "embed": "normal", "embed_low": "low"}
COLUMNS = ("stage", "state", "#waiting", "#oldest", "#processed", "#failed", "#dead letters")
#: The window of the counts in a summary.
COUNTED = "5 minutes"
SUMMARY = "/embeddings/orchestrator/summary"


def status_command(
    watch: Annotated[bool, typer.Option("--watch", help="Show it live, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.5, max=3600, help="Seconds between looks.")] = 2.0,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show what waits, what is held, and what has failed.

    Exits 1 when a part of it cannot be seen.
    """
    with calls.connect(url, data_dir) as api:
        if watch:
            _watch(api, every, as_json)
            return
        summary = api.call("GET", SUMMARY)
    if as_json:
        output.emit_json(summary)
    else:
        output.console().print(shown(summary))
    if summary["degraded"]:
        raise typer.Exit(output.EXIT_FAILED)


def shown(summary: dict[str, Any]) -> RenderableType:
    """Give a summary for people."""
    lines = [f" {name}: {said}" for name, said in _notes(summary)]
    rows = [_row(summary, stage) for stage in STAGES]
    return Group(output.table("", COLUMNS, rows), *(Text.from_markup(line) for line in lines))


def waiting(summary: dict[str, Any], stage: str) -> int:
    """Count the messages of a stage."""
    names = LANES if stage == "embed" else (stage,)
    return sum(summary["queues"].get(name, 0) for name in names)


def state_of(flag: dict[str, Any]) -> str:
    """Name the state of a stage."""
    if flag.get("paused"):
        return "paused"
    if flag.get("drain"):
        return "drained" if flag.get("drained") else "draining"
    return "running"


def _row(summary: dict[str, Any], stage: str) -> list[str]:
    unseen = {reason["source"] for reason in summary["reasons"]}
    queues = {f"queue {name}" for name in (LANES if stage == "embed" else (stage,))}

    def seen(source: set[str], value: str) -> str:
        return "[red]?[/]" if source & unseen else value

    base = {"database"}
    state = seen(base, words.painted(state_of(summary["flags"][stage])))
    if stage == "submit":
        return [stage, state]
    done = summary["stages"][stage]
    return [
        stage,
        state,
        seen(queues, words.number(waiting(summary, stage))),
        seen(base, words.age(summary["ages"][stage])),
        seen(base, words.number(done["processed"])),
        seen(base, words.warned(done["failed"])),
        seen({f"dlq {stage}"}, words.warned(summary["dlq"][stage])),
    ]


def _notes(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    lanes = {title: summary["queues"].get(name) for name, title in LANES.items()}
    if any(lanes[name] for name in ("high", "low")):
        yield "embed lanes", words.listed(lanes)
    outbox, workers = summary["outbox"], summary["workers"]
    if outbox.get("rows"):
        oldest = words.age(outbox["oldest_age_s"])
        yield "outbox", f"{outbox['rows']:,} messages to be sent, the oldest for {oldest}"
    stalled = f", [red]{workers['stalled']:,} stalled[/]" if workers.get("stalled") else ""
    yield "workers", f"{workers.get('active', 0):,} active{stalled}"
    for reason in summary["reasons"]:
        yield "[red]cannot be seen[/]", words.text(f"{reason['source']} ({reason['code']})")
    at = datetime.fromtimestamp(summary["ts"])
    yield "at", f"{at:%H:%M:%S}; processed and failed are of the last {COUNTED}"


def _watch(api: Api, every_s: float, as_json: bool) -> None:
    try:
        if as_json:
            while True:
                typer.echo(json.dumps(api.call("GET", SUMMARY)))
                time.sleep(every_s)
        _live(api, every_s)
    except KeyboardInterrupt:
        return


def _live(api: Api, every_s: float) -> None:
    from rich.live import Live

    console = output.console()
    if not console.is_terminal:
        output.fail(
            "--watch needs a terminal", "in a pipe, use --watch --json", code=output.EXIT_USAGE
        )
    with Live(shown(api.call("GET", SUMMARY)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(shown(api.call("GET", SUMMARY)), refresh=True)
