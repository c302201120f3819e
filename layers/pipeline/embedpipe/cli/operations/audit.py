"""`embedpipe audit`: who did what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Details, Limit
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

COLUMNS = ("#ago", "by", "action", "subject", "result")
# In characters: below, there is no room for notes.
WIDE = 100


def audit_command(
    action: Annotated[
        str | None, typer.Option(help="Only of this kind, such as stage.pause.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only of this API key's id.")] = None,
    limit: Limit = 20,
    details: Details = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List what operators did, newest first."""
    with calls.connect(url, data_dir) as api:
        found = calls.first(api, "/embeddings/audit", limit, action=action, actor=actor)
    if as_json:
        output.emit_json(found)
    elif not found:
        typer.echo("nobody has done anything of that kind")
    else:
        console = output.console()
        noted = details or console.width >= WIDE
        columns = (*COLUMNS, *(("note",) if noted else ()))
        rows = [_row(act, None if details else 60)[: len(columns)] for act in found]
        console.print(output.table("", columns, rows))


def _row(act: dict[str, Any], note_width: int | None) -> list[str]:
    return [
        words.since(act["at"]),
        words.text(act["actor"], 20),
        words.text(act["action"]),
        words.text(act["subject"]),
        words.text(act["result"]),
        words.text(act["note"], note_width),
    ]
