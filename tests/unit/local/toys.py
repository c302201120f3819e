"""Toy functions, deployed as the real ones are: a folder with `app.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from embedpipe.local.environment import Function
from embedpipe.local.pool import Pool
from embedpipe.local.process import Guard


@contextmanager
def a_pool(folder: Path, source: str, **overrides: Any) -> Iterator[Pool]:
    """Deploy a handler and give its pool."""
    limits = {k: overrides.pop(k) for k in ("max_concurrency", "max_waiting") if k in overrides}
    (folder / "app.py").write_text(dedent(source))
    guard = Guard()
    function = Function(name="toy", code_directory=folder, **{"timeout_s": 5.0, **overrides})
    pool = Pool(function, guard=guard, log=folder / "toy.log", **limits)
    try:
        yield pool
    finally:
        pool.close(timeout_s=0.1)
        guard.close()


class FakeFunction:
    """A function that answers from a list, and remembers its events."""

    def __init__(self, *answers: Any, max_concurrency: int = 1) -> None:
        self.answers = list(answers)
        self.events: list[Any] = []
        self.max_concurrency = max_concurrency

    def invoke(self, event: Any) -> Any:
        """Give the next answer, or raise it."""
        self.events.append(event)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer
