"""What the verbs that talk to PostgreSQL share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import psycopg
import typer

from embedpipe.cli.options import DEFAULT_DATA_DIR
from embedpipe.cli.output import EXIT_USAGE, fail
from embedpipe.errors import PipelineError, RequestError, StoreUnavailableError
from embedpipe.local.directory import DataDirectory

_HELP = "PostgreSQL URL. One with a password belongs into the environment."


def running_database() -> str:
    """Give the URL of the running local cloud's own database, as its owner."""
    found = DataDirectory(DEFAULT_DATA_DIR).endpoint().get("database", "external")
    if found == "external":
        fail(
            "no database was named, and no local cloud with its own runs here",
            "set DATABASE_URL, or start one with `embedpipe up`",
            code=EXIT_USAGE,
        )
    return str(found)


DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--database-url",
        envvar="DATABASE_URL",
        default_factory=running_database,
        show_default="the running local cloud's",
        help=_HELP,
    ),
]
#: For what destroys: nothing is assumed.
NamedDatabaseUrl = Annotated[str, typer.Option("--database-url", envvar="DATABASE_URL", help=_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def reported() -> Iterator[None]:
    """End with one line on standard error: 2 for what was asked wrongly, 1 for what went wrong."""
    try:
        yield
    except StoreUnavailableError as exc:
        fail(exc.message, _first_line(exc.__cause__))
    except RequestError as exc:
        fail(f"{exc.message} ({exc.code})", code=EXIT_USAGE)
    except PipelineError as exc:
        fail(f"{exc.message} ({exc.code})")
    except psycopg.Error as exc:
        fail(_first_line(exc))


def _first_line(error: BaseException | None) -> str:
    lines = str(error or "").splitlines()
    return lines[0] if lines else type(error).__name__
