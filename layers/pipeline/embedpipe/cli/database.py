"""What the verbs that talk to PostgreSQL share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import psycopg
import typer

from embedpipe.cli.output import EXIT_USAGE, fail
from embedpipe.errors import PipelineError, RequestError, StoreUnavailableError

DatabaseUrl = Annotated[
    str,
    typer.Option(
        "--database-url",
        envvar="DATABASE_URL",
        help="PostgreSQL URL. One with a password belongs into the environment.",
    ),
]
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
