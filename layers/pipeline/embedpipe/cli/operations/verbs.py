"""The operator's verbs by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer

from embedpipe.cli.operations import dlq
from embedpipe.cli.operations.audit import audit_command
from embedpipe.cli.operations.health import health_command
from embedpipe.cli.operations.jobs import failed_command, recent_command, stuck_command
from embedpipe.cli.operations.metrics import metrics_command, stats_command
from embedpipe.cli.operations.redrive import redrive_command
from embedpipe.cli.operations.repair import cleanup_command, clear_command, reset_stuck_command
from embedpipe.cli.operations.skips import skip_command
from embedpipe.cli.operations.stages import (
    drain_command,
    pause_command,
    resume_command,
    start_command,
    stop_command,
    workers_command,
)
from embedpipe.cli.operations.status import status_command

#: What `embedpipe --help` shows, by the titles that it shows them under.
PANELS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "Operators: look": {
        "status": status_command,
        "stats": stats_command,
        "health": health_command,
        "metrics": metrics_command,
        "recent": recent_command,
        "failed": failed_command,
        "stuck": stuck_command,
        "workers": workers_command,
        "audit": audit_command,
    },
    "Operators: act": {
        "stop": stop_command,
        "start": start_command,
        "pause": pause_command,
        "resume": resume_command,
        "drain": drain_command,
        "skip": skip_command,
        "redrive": redrive_command,
        "reset-stuck": reset_stuck_command,
        "cleanup": cleanup_command,
        "clear": clear_command,
    },
}


def mount(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for panel, verbs in PANELS.items():
        for name, command in verbs.items():
            app.command(name, rich_help_panel=panel)(command)
    app.add_typer(dlq.app, name="dlq", rich_help_panel="Operators: act")
