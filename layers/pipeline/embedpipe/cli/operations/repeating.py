"""Long work: the API does a part of it per request, and is asked again until all is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import typer

from embedpipe.cli import output
from embedpipe.cli.client import ApiError, UnreachableError

#: How often nothing may happen before it is given up, and the pause between two such requests.
PATIENCE = 60
PAUSE_S = 1.0
AGAIN = "asking again continues"

Show = Callable[[int, int], None]


@dataclass(frozen=True)
class Step:
    """What one request did.

    Attributes
    ----------
    done
        So many more.
    remaining
        So many are left.
    wait_s
        How long the API wants to be left alone.
    is_over
        Whether there is no use in asking again, whatever remains; None: over when nothing does.
    """

    done: int
    remaining: int
    wait_s: float = 0.0
    is_over: bool | None = None


def until_done(
    ask: Callable[[], Step],
    *,
    verb: str,
    total: int = 0,
    is_quiet: bool = False,
    sleep: Callable[[float], None] | None = None,
) -> int:
    """Ask until nothing remains; give how many it did.

    Interrupted or refused midway, it says how far it came and that nothing of it is lost.
    """
    done = idle = 0
    try:
        with bar(verb, total, is_quiet) as show:
            while True:
                step = ask()
                done += step.done
                show(done, max(total, done + step.remaining))
                if not step.remaining if step.is_over is None else step.is_over:
                    return done
                idle = 0 if step.done else idle + 1
                if idle > PATIENCE:
                    break
                (sleep or time.sleep)(step.wait_s or (0.0 if step.done else PAUSE_S))
    except KeyboardInterrupt:
        output.fail(f"interrupted: {verb} {done:,}", AGAIN, code=output.EXIT_INTERRUPTED)
    except (ApiError, UnreachableError):
        if done:
            typer.echo(f"{verb} {done:,} before that; {AGAIN}", err=True)
        raise
    output.fail(f"{verb} {done:,}, and nothing moves any more: {step.remaining:,} remain", AGAIN)


@contextmanager
def bar(verb: str, total: int, is_quiet: bool = False) -> Iterator[Show]:
    """Show a bar on standard error, where that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = output.progress_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, disable=is_quiet or not console.is_terminal, transient=True
    ) as bars:
        shown = bars.add_task(verb, total=total or None)

        def show(done: int, of: int) -> None:
            bars.update(shown, completed=done, total=of)

        yield show
