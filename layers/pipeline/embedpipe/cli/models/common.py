"""What the verbs of `embedpipe models` share: options, folders, progress, failures."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, get_args

import typer

from embedpipe.cli.output import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    console,
    emit_json,
    fail,
    progress_console,
    table,
)
from embedpipe.errors import PipelineError
from embedpipe.models.manifest import PRECISIONS, Precision

ModelsDir = Annotated[
    Path,
    typer.Option("--models-dir", envvar="MODELS_DIR", help="The folder with one folder per model."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_DIR = Path(".embedpipe/models")


def folders(models_dir: Path) -> list[Path]:
    """Give the folders of models, whatever is in them."""
    if not models_dir.is_dir():
        return []
    # A name with a dot in front is work in progress, or what the worker keeps for itself.
    return sorted(
        path for path in models_dir.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def precisions(text: str) -> tuple[Precision, ...]:
    """Read a list with commas. Raises typer.BadParameter."""
    wanted = {one.strip() for one in text.split(",") if one.strip()}
    if unknown := sorted(wanted - set(get_args(Precision))):
        known = ", ".join(PRECISIONS)
        raise typer.BadParameter(f"{', '.join(unknown)}: not one of {known}")
    return tuple(one for one in PRECISIONS if one in wanted)


def numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers from 1 with commas. Raises typer.BadParameter."""
    try:
        found = tuple(int(one) for one in text.split(",") if one.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers") from None
    if any(one < 1 for one in found):
        raise typer.BadParameter("the numbers must be at least 1")
    return found


@contextmanager
def failures(as_json: bool) -> Iterator[None]:
    """End with one line and exit code 1 where a model cannot be made, read or used."""
    try:
        yield
    except FileNotFoundError as exc:
        name = Path(exc.filename or "").name
        what = "a folder has no manifest" if name == "embedpipe.yaml" else f"{name} is missing"
        _end(what, as_json)
    except (PipelineError, OSError) as exc:
        _end(exc.message if isinstance(exc, PipelineError) else _reason(exc), as_json)


@contextmanager
def progress(as_json: bool) -> Iterator[Callable[[str], None]]:
    """Show on standard error what is being done; as lines where that is no terminal."""
    shown = progress_console()
    if as_json:
        yield lambda _: None
    elif not shown.is_terminal:
        yield lambda text: shown.print(text)
    else:
        with shown.status("starting") as status:
            yield status.update


@contextmanager
def cleaned_up() -> Iterator[None]:
    """Let what is half done be removed when the process is told to stop."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted; nothing was changed", code=EXIT_INTERRUPTED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table."""
    console().print(table(title, columns, rows))


def megabytes(size: int) -> str:
    """Give bytes for people."""
    return f"{size / 1e6:.1f} MB"


def wrong_usage(message: str) -> NoReturn:
    """End with exit code 2."""
    fail(message, code=EXIT_USAGE)


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}{f': {Path(error.filename).name}' if error.filename else ''}"


def _end(message: str, as_json: bool) -> NoReturn:
    if as_json:
        emit_json({"error": message})
    fail(message, code=EXIT_FAILED)


__all__ = [
    "DEFAULT_DIR",
    "AsJson",
    "ModelsDir",
    "cleaned_up",
    "failures",
    "folders",
    "megabytes",
    "numbers",
    "precisions",
    "progress",
    "show",
    "wrong_usage",
]
