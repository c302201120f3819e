"""`embedpipe dlq`: look at dead letters, decide about them, put them back."""

from __future__ import annotations

from typing import Annotated

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, letters, words
from embedpipe.cli.operations.decisions import (
    ErrorCode,
    Job,
    OfStage,
    State,
    approve_command,
    ignore_command,
    quarantine_command,
)
from embedpipe.cli.operations.options import Details, Limit, Tenant, given
from embedpipe.cli.operations.requeue import requeue_command
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

app = typer.Typer(
    help="Look at dead letters, decide about them, put them back.", no_args_is_help=True
)
app.command("approve")(approve_command)
app.command("ignore")(ignore_command)
app.command("quarantine")(quarantine_command)
app.command("requeue")(requeue_command)


@app.command("list")
def list_command(
    stage: OfStage = None,
    job: Job = None,
    error_code: ErrorCode = None,
    tenant: Tenant = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    limit: Limit = 20,
    details: Details = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List dead letters: messages that could not be worked on."""
    with calls.connect(url, data_dir) as api:
        found = calls.first(
            api,
            letters.DLQ,
            limit,
            stage=stage.today if stage else None,
            job_id=job,
            error_code=error_code,
            tenant=tenant,
            state=state.in_full if state else None,
        )
    if as_json:
        output.emit_json(found)
    elif not found:
        typer.echo("there are no such dead letters")
    elif details:
        for letter in found:
            output.console().print(letters.everything(letter))
    else:
        console = output.console()
        console.print(letters.table(found, console.width))


@app.command("show")
def show_command(
    entry: Annotated[str, typer.Argument(help="The entry's id, or the beginning of it.")],
    stage: OfStage = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Show everything about a dead letter."""
    with calls.connect(url, data_dir) as api:
        found = letters.find(api, entry, stage.today if stage else None)
    if as_json:
        output.emit_json(found)
    else:
        output.console().print(letters.everything(found))


@app.command("refresh")
def refresh_command(
    stage: OfStage = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Look into the dead-letter queues now, and not at the next run of maintenance."""
    asked = given(stage=stage.today if stage else None)
    with calls.connect(url, data_dir) as api:
        found = api.call("POST", f"{letters.DLQ}/refresh", json=asked)
    if as_json:
        output.emit_json(found)
    else:
        for seen in found["stages"]:
            counts = {name: seen[name] for name in ("added", "gone", "put_back", "failed_jobs")}
            named = {name.replace("_", " "): count for name, count in counts.items()}
            rest = "" if seen["complete"] else "; there is more, ask again"
            typer.echo(f"{seen['stage']}: {words.listed(named, 'nothing new')}{rest}")
