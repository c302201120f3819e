from __future__ import annotations

import os
import signal
from threading import Event, Thread, current_thread

import pytest

from tests.alarms.freezer import Freezer


def test_what_is_thawed_while_it_is_looked_for_is_not_frozen_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: sent.append(number))
    is_looking, go_on = Event(), Event()

    def pids() -> dict[str, list[int]]:
        if current_thread().name == "freezer":
            is_looking.set()
            assert go_on.wait(10)
        return {"store": [1]}

    freezer = Freezer(pids)
    freezer.freeze("store")
    freezer.start()
    assert is_looking.wait(10)

    thaw = Thread(target=freezer.thaw, args=["store"])
    thaw.start()
    # It waits for the one who looks; if it did not, it would be over by now.
    thaw.join(0.2)
    go_on.set()
    thaw.join(10)
    freezer.stop()

    assert sent[0] == signal.SIGSTOP
    assert sent[-1] == signal.SIGCONT


def test_nothing_stays_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    freezer = Freezer(lambda: {"chunk": [1], "store": [2, 3]})
    freezer.freeze("store")

    freezer.stop()

    assert sent[2:] == [(2, signal.SIGCONT), (3, signal.SIGCONT)]
