"""`embedpipe dlq`: look at dead letters, decide about them, put them back."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, letters, words
from embedpipe.cli.operations.options import Details, Limit, Note, Stage, given
from embedpipe.cli.operations.requeue import requeue_command
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

app = typer.Typer(
    help="Look at dead letters, decide about them, put them back.", no_args_is_help=True
)
app.command("requeue")(requeue_command)


class State(StrEnum):
    """What was decided about an entry."""

    QUARANTINED = "quarantined"
    APPROVED = "approved"
    APPROVED_FOR_REQUEUE = "approved_for_requeue"
    IGNORED = "ignored"
    REQUEUED = "requeued"

    @property
    def in_full(self) -> str:
        """Its name in the API."""
        return STATES["approve"] if self is State.APPROVED else self.value


STATES = {"approve": "approved_for_requeue", "ignore": "ignored", "quarantine": "quarantined"}

OfStage = Annotated[Stage | None, typer.Option("--stage", "-s", help="Only of this stage.")]
Entries = Annotated[
    list[str], typer.Argument(help="Ids of entries, or beginnings that no other id has.")
]


@app.command("list")
def list_command(
    stage: OfStage = None,
    job: Annotated[str | None, typer.Option("--job", help="Only of this job.")] = None,
    error_code: Annotated[str | None, typer.Option(help="Only with this error.")] = None,
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


@app.command("approve")
def approve_command(
    entries: Entries,
    stage: OfStage = None,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Let entries be put back by `requeue`."""
    _decide("approve", entries, stage, note, url, data_dir, as_json)


@app.command("ignore")
def ignore_command(
    entries: Entries,
    stage: OfStage = None,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Leave entries where they are: nothing puts them back."""
    _decide("ignore", entries, stage, note, url, data_dir, as_json)


@app.command("quarantine")
def quarantine_command(
    entries: Entries,
    stage: OfStage = None,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Take a decision about entries back: nothing puts them back until they are approved."""
    _decide("quarantine", entries, stage, note, url, data_dir, as_json)


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
        typer.echo("looked into the dead-letter queues; see `embedpipe dlq list`")


def _decide(
    verb: str,
    entries: list[str],
    stage: Stage | None,
    note: str | None,
    url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    answers: list[Any] = []
    with calls.connect(url, data_dir) as api:
        # All are found before the first is changed, so that a typing error changes nothing.
        found = [letters.find(api, entry, stage.today if stage else None) for entry in entries]
        for letter in found:
            asked = {
                "stage": letter["stage"],
                "entry_id": letter["entry_id"],
                "state": STATES[verb],
                **given(operator_note=note),
            }
            answers.append(api.call("POST", f"{letters.DLQ}/state", json=asked))
            if not as_json:
                typer.echo(
                    f"{letter['entry_id']} is {words.text(letters.short_state(STATES[verb]))}"
                )
    if as_json:
        output.emit_json(answers)
