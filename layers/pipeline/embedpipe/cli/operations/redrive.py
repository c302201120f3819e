"""`embedpipe redrive`: put everything in a dead-letter queue back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.client import Api
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.letters import DLQ
from embedpipe.cli.operations.options import Confirm, DryRun, Note, Pace, Stage, given
from embedpipe.cli.operations.repeating import Step, until_done
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

#: Statuses of a redrive that goes on.
OPEN = ("running", "cancelling")
REDRIVE = f"{DLQ}/redrive"
#: How long a redrive that the queue service does by itself is left alone between two looks.
LOOK_S = 1.0
#: The same for one that maintenance may be at: it is not asked about all along.
BREATH_S = 0.1
ID = "redrive_id"


def redrive_command(
    stage: Annotated[Stage, typer.Argument(help="The stage.")],
    note: Note = None,
    max_per_second: Pace = None,
    status: Annotated[bool, typer.Option("--status", help="Only say how far one is.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop one.")] = False,
    confirm: Confirm = False,
    dry_run: DryRun = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Put everything in a dead-letter queue back.

    It is approved first, and goes back byte for byte. Failed jobs start again. What is ignored
    stays. Interrupted, it has lost nothing: asking again continues.
    """
    with calls.connect(url, data_dir) as api:
        name = stage.today
        if status:
            found = api.call("GET", REDRIVE, params={"stage": name})
        elif cancel:
            asked = {"stage": name, **given(operator_note=note)}
            found = api.call("POST", f"{REDRIVE}/cancel", json=asked)
        else:
            asked = {"stage": name, **given(max_per_second=max_per_second)}
            found = api.call("POST", REDRIVE, json={**asked, "dry_run": True})
            if not dry_run:
                to_move = found["to_move"]
                calls.be_sure(
                    f"Put {words.counted(to_move, 'dead letter')} of {name} back?", confirm
                )
                asked["operator_note"] = calls.why(note, "redrive")
                found = _move(api, asked, to_move, as_json)
    _tell(found, dry_run, as_json)


def _move(api: Api, asked: dict[str, Any], total: int, is_quiet: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def step() -> Step:
        before = found.get("moved", 0)
        # Maintenance may have ended it since: then another is not to begin.
        found.update(api.call("POST", REDRIVE, json={**asked, **given(redrive_id=found.get(ID))}))
        moved = found["moved"] - before
        wait_s = LOOK_S if found["native"] else BREATH_S if moved else 0.0
        return Step(moved, found["remaining"], wait_s, found["status"] not in OPEN)

    until_done(step, verb="moved", total=total, is_quiet=is_quiet)
    return found


def _tell(found: dict[str, Any], dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.emit_json(found)
    elif dry_run:
        typer.echo(
            f"{words.counted(found['to_move'], 'dead letter')} of {found['stage']} would go back"
        )
    else:
        how = "by the queue service" if found["native"] else "by embedpipe"
        reason = f" ({words.text(found['reason'])})" if found["reason"] else ""
        typer.echo(
            f"{found['stage']}: {found['status']}{reason}; {found['moved']:,} moved {how}, "
            f"{found['remaining']:,} remain"
        )
    if found["status"] == "failed":
        raise typer.Exit(output.EXIT_FAILED)
