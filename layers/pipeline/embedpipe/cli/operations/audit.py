"""`embedpipe audit`: who did what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Details, Limit
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

#: Where a terminal is narrow, two lines each.
NARROW = ("#ago", "action", "result")
COLUMNS = ("#ago", "by", "action", "subject", "result", "note")
# In characters.
WIDE = 140


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
        is_wide = console.width >= WIDE
        rows = [_row(act) if is_wide else _lines(act, details) for act in found]
        console.print(output.table("", COLUMNS if is_wide else NARROW, rows))


def _row(act: dict[str, Any]) -> list[str]:
    return [
        words.since(act["at"]),
        words.text(act["actor"], 24),
        words.text(act["action"]),
        words.text(act["subject"]),
        words.text(act["result"]),
        words.text(act["note"]),
    ]


def _lines(act: dict[str, Any], details: bool) -> list[str]:
    ago, by, action, subject, result, note = _row(act)
    noted = f"\n[dim]{note}[/]" if details and note else ""
    return [ago, f"{action}\n[dim]{subject}[/]{noted}", f"{result}\n[dim]by {by}[/]"]
