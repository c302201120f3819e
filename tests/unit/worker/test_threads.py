from __future__ import annotations

import time

import pytest
from embedpipe.worker.threads import Threads


def test_a_part_that_ends_by_itself_is_reported_as_dead() -> None:
    died: list[str] = []
    threads = Threads(lambda name, _: died.append(name), lambda: False)

    threads.start({"plan": lambda: None})
    threads.join("plan", until=time.monotonic() + 5)

    assert died == ["plan"]


@pytest.mark.parametrize("may_end", [False, True])
def test_a_part_that_raises_is_reported_whenever_that_is(may_end: bool) -> None:
    died: list[tuple[str, str]] = []
    threads = Threads(lambda name, error: died.append((name, str(error))), lambda: may_end)

    threads.start({"plan": _fail})
    threads.join("plan", until=time.monotonic() + 5)

    assert died == [("plan", "no plan")]


def test_a_part_may_end_when_the_worker_stops() -> None:
    died: list[str] = []
    threads = Threads(lambda name, _: died.append(name), lambda: True)

    threads.start({"plan": lambda: None})
    threads.join("plan", until=time.monotonic() + 5)

    assert died == []


def _fail() -> None:
    raise ValueError("no plan")
