"""`embedpipe doctor`: is everything there, and what to do about what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedpipe.cli import output
from embedpipe.cli.client import find_url
from embedpipe.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Url

MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "bad": "[red]bad[/]"}


def doctor_command(
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    project: Annotated[
        Path | None, typer.Option(help="Root of the checkout, if it is not found by itself.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port that `up` would take.")] = 8080,
    as_json: AsJson = False,
) -> None:
    """Check Python, packages, models, devices, database, queues, disk, memory and ports.

    Exits 1 when something is bad; a note is no failure.
    """
    from embedpipe.cli import checks, device_checks

    findings = [
        *checks.machine(data_dir),
        *checks.installation(project, data_dir),
        *device_checks.devices(),
        *device_checks.speed(data_dir / "models"),
        *checks.cloud(data_dir, find_url(url, data_dir), port),
    ]
    if as_json:
        output.emit_json([vars(finding) for finding in findings])
    else:
        rows = [
            (MARKS[finding.state], finding.name, finding.found, finding.advice)
            for finding in findings
        ]
        output.console().print(output.table("", ["", "check", "found", "what to do"], rows))
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(output.EXIT_FAILED)
