"""A table of what every event was answered with."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.lambdas.case import EMBED, Case, Invoke, run
from tests.lambdas.cases import CASES
from tests.lambdas.world import World

WIDTH = 76


def chosen(words: Sequence[str]) -> list[Case]:
    """Give the cases whose event begins with one of these words; all for none."""
    return [case for case in CASES if not words or case.event.startswith(tuple(words))]


def report(
    cases: Sequence[Case], world: World, invoke: Invoke, *, width: int | None = WIDTH
) -> int:
    """Bring every case about and print a line for it; give how many were not as expected.

    Parameters
    ----------
    width
        Where answers are cut off; None prints them whole.
    """
    failed = 0
    _line("event", "function", "took", "answer")
    for case in cases:
        began = time.monotonic()
        answers: list[Any] = []
        try:
            answer = summary(case, run(case, world, _kept(invoke, answers)), width)
        except AssertionError as exc:
            answer = f"NOT AS EXPECTED: {exc}; answer: {answers}"
            failed += 1
        except Exception as exc:  # noqa: BLE001
            answer = f"NO ANSWER: {type(exc).__name__}: {exc}"
            failed += 1
        _line(str(case), case.function, f"{time.monotonic() - began:.1f} s", answer)
    say(f"{len(cases) - failed} of {len(cases)} cases as expected")
    return failed


def summary(case: Case, answer: Any, width: int | None = WIDTH) -> str:
    """Give an answer in a line."""
    if case.function == EMBED:
        return "received from its queue"
    text = json.dumps(answer)
    if isinstance(answer, dict) and "status" in answer and "body" in answer:
        text = f"{answer['status']} {json.dumps(answer['body'])}"
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def _kept(invoke: Invoke, answers: list[Any]) -> Callable[[Case], Any]:
    def invoke_and_keep(case: Case) -> Any:
        answers.append(invoke(case))
        return answers[-1]

    return invoke_and_keep


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _line(event: str, function: str, took: str, answer: str) -> None:
    say(f"{event:<33} {function:<11} {took:>7}  {answer}")
