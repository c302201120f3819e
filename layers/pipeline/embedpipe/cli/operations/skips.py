"""`embedpipe skip`: take a job out, and keep it out for a while."""

from __future__ import annotations

from typing import Annotated

import typer

from embedpipe.cli import output
from embedpipe.cli.operations import calls, words
from embedpipe.cli.operations.options import Note, given, seconds_of
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

SKIP = "/embeddings/job/skip"


def skip_command(
    job_id: Annotated[str, typer.Argument(help="The job.")],
    ttl: Annotated[
        str, typer.Option("--ttl", help="How long nothing may start it again, such as 12h or 7d.")
    ] = "7d",
    status: Annotated[
        bool, typer.Option("--status", help="Only say whether it is skipped.")
    ] = False,
    note: Note = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Cancel a job, and let nothing start it again for a while.

    With --status, exits 1 when it is not skipped.
    """
    ttl_s = seconds_of(ttl, "--ttl")
    with calls.connect(url, data_dir) as api:
        if not status:
            asked = {"job_id": job_id, "ttl_seconds": ttl_s, **given(note=note)}
            found = api.call("POST", SKIP, json=asked)
        else:
            found = api.call("GET", f"{SKIP}/status", params={"job_id": job_id})
    if as_json:
        output.emit_json(found)
    elif found["skipped"]:
        by = f" by {found['created_by']}" if found.get("created_by") else ""
        before = "" if found.get("was_cancelled", True) else f"; it had {found['status']} before"
        typer.echo(f"skipped{by}, for {words.until(found['expires_at'])} more{before}")
    else:
        typer.echo("not skipped")
    if not found["skipped"]:
        raise typer.Exit(output.EXIT_FAILED)
