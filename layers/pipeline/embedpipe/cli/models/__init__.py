"""`embedpipe models`: add, prepare, list, verify, remove and benchmark models on this disk.

Exit codes: 0 all is well, 1 something is wrong with a model, 2 wrong usage.
"""

from __future__ import annotations

import typer

from embedpipe.cli.models.add import add_command, prepare_command
from embedpipe.cli.models.benchmark import benchmark_command
from embedpipe.cli.models.inspect import list_command, remove_command, verify_command

app = typer.Typer(no_args_is_help=True, help="Add, check, measure and remove models.")
app.command("add")(add_command)
app.command("prepare")(prepare_command)
app.command("list")(list_command)
app.command("verify")(verify_command)
app.command("benchmark")(benchmark_command)
app.command("remove")(remove_command)
