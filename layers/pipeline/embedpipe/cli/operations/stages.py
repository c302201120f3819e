"""`embedpipe pause`, `resume`, `drain`, `stop`, `start` and `workers`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.client import Api
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Controlled, Note, given
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

CONTROL = "/embeddings/stage/control"
#: What `stop` holds: documents are still accepted, and wait.
WORKING = ("chunk", "embed", "store")
LOOK_S = 2.0
COLUMNS = ("stage", "state", "#for", "by", "note")

Which = Annotated[Controlled, typer.Argument(help="Which stage; all of them by `all`.")]


def pause_command(
    stage: Which,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Let a stage receive nothing more; what it holds is finished.

    What comes waits, and loses nothing by it. A paused `submit` refuses documents, with 503.
    """
    _act([stage.today], "pause", note, url, data_dir, as_json)


def resume_command(
    stage: Which = Controlled.ALL,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Let a stage work again, after `pause` or `drain`."""
    _act([stage.today], "resume", note, url, data_dir, as_json)


def drain_command(
    stage: Which = Controlled.ALL,
    wait: Annotated[bool, typer.Option("--wait", help="Return once it is empty.")] = False,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Admit no documents, and let a stage and those before it run empty."""
    _act([stage.today], "drain", note, url, data_dir, as_json, waits=wait)


def stop_command(
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Pause chunk, embed and store.

    Documents are still accepted, and wait; `pause submit` refuses them, too.
    """
    _act(list(WORKING), "pause", note, url, data_dir, as_json)


def start_command(
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Resume every stage, and admit documents."""
    _act(["all"], "resume", note, url, data_dir, as_json)


def workers_command(
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List the embed workers. Exits 1 when one has stalled."""
    with calls.connect(url, data_dir) as api:
        found = api.call("GET", "/embeddings/orchestrator/workers")["items"]
    if as_json:
        output.emit_json(found)
    elif found:
        columns = ("worker", "stage", "state", "#since", "#last beat", "#in flight")
        output.console().print(output.table("", columns, [_worker(worker) for worker in found]))
    else:
        typer.echo("no worker has said that it lives")
    if any(worker["is_stalled"] for worker in found):
        raise typer.Exit(output.EXIT_FAILED)


def _act(
    stages: list[str],
    action: str,
    note: str | None,
    url: str | None,
    data_dir: Path,
    as_json: bool,
    *,
    waits: bool = False,
) -> None:
    problems: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    with calls.connect(url, data_dir) as api:
        for stage in stages:
            asked = {"stage": stage, "action": action, **given(note=note)}
            found = api.call("POST", CONTROL, json=asked)
            problems += found["problems"]
        if waits:
            found = _drained(api, stages)
    if as_json:
        output.emit_json({**found, "problems": problems})
    else:
        rows = [_row(name, control) for name, control in found["stages"].items()]
        output.console().print(output.table("", COLUMNS, rows))
    for problem in () if as_json else problems:
        typer.echo(f"{problem['stage'] or 'all'}: {problem['code']}; send it again", err=True)
    if problems:
        raise typer.Exit(output.EXIT_FAILED)


def _drained(api: Api, stages: list[str]) -> dict[str, Any]:
    """Look until the stages have run empty; give what was seen then."""
    try:
        while True:
            found: dict[str, Any] = api.call("GET", CONTROL)
            asked = found["stages"] if "all" in stages else stages
            if all(found["stages"][stage]["drained"] for stage in asked):
                return found
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        output.fail("not empty yet", "it goes on draining", code=output.EXIT_INTERRUPTED)


def _row(name: str, control: dict[str, Any]) -> list[str]:
    state = "drained" if control["drained"] else control["state"]
    changed = [words.since(control["changed_at"]), words.text(control["changed_by"], 24)]
    return [name, words.painted(state), *changed, words.text(control["note"], 60)]


def _worker(worker: dict[str, Any]) -> list[str]:
    return [
        words.text(worker["worker_id"]),
        words.text(worker["stage"]),
        words.painted("stalled" if worker["is_stalled"] else worker["state"]),
        words.since(worker["since"]),
        words.since(worker["last_beat"]),
        words.number(worker["in_flight"]),
    ]
