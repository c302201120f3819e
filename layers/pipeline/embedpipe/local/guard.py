"""Ends the local cloud's processes when the one that started them dies without doing so.

Runs as a script, `python -I -S guard.py`, as the only child that is not watched. Its standard input
is a pipe from the parent: `+PID SIGNAL` and `-PID` lines keep a list, and the end of the pipe means
that the parent is gone, however it went. Knows nothing but the standard library, to stay small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

GRACE_S = 10.0


def read_watched(lines: Iterable[str]) -> dict[int, int]:
    """Follow the list until the pipe ends; give the pids that are left, with their signals."""
    watched: dict[int, int] = {}
    for line in lines:
        word, _, number = line.strip().partition(" ")
        if word.startswith("+"):
            watched[int(word[1:])] = int(number)
        elif word.startswith("-"):
            watched.pop(int(word[1:]), None)
    return watched


def is_running(pid: int) -> bool:
    """Say whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state != "Z"


def end(watched: dict[int, int], grace_s: float = GRACE_S) -> None:
    """Stop each in its own way, last started first; kill what is left after the grace time."""
    for pid in reversed(watched):
        with contextlib.suppress(OSError):
            os.kill(pid, watched[pid])
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(is_running(pid) for pid in watched):
        time.sleep(0.05)
    for pid in watched:
        if is_running(pid):
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    end(read_watched(sys.stdin))
