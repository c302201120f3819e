from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from embedpipe.local.guard import end, is_running, read_watched
from embedpipe.local.keeper import Keeper
from embedpipe.local.process import Child, Guard

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP


def a_child(guard: Guard, folder: Path, source: str, **overrides: float) -> Child:
    log = folder / "child.log"
    return Child("child", [sys.executable, "-c", source], guard=guard, log=log, **overrides)  # type: ignore[arg-type]


def wait_for_line(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while "up" not in (folder / "child.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_that_ignores_its_signal_is_killed(tmp_path: Path) -> None:
    guard = Guard()
    child = a_child(guard, tmp_path, STUBBORN, grace_s=0.2)
    child.start()
    wait_for_line(tmp_path)

    child.stop()

    assert child.exit_code() == -9
    guard.close()


def test_the_guard_ends_what_its_parent_left(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
from embedpipe.local.process import Child, Guard
log = Path({str(tmp_path)!r}, "log")
child = Child("c", [sys.executable, "-c", {SLEEP!r}], guard=Guard(), log=log)
child.start()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    pid = int(parent.stdout)

    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert parent.returncode == -9
    assert not is_running(pid)


def test_the_guard_forgets_what_ended() -> None:
    assert read_watched(["+7 15\n", "+8 2\n", "-7\n", "-9\n"]) == {8: 2}


def test_the_guard_kills_what_does_not_stop() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], start_new_session=True, stdout=subprocess.PIPE
    ) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()

        end({stubborn.pid: 15}, grace_s=0.2)

        assert stubborn.wait(5) == -9


def test_a_child_started_after_the_end_is_ended(tmp_path: Path) -> None:
    guard = Guard()
    guard.close()
    child = a_child(guard, tmp_path, SLEEP)

    child.start()

    assert child.exit_code() == -9


def test_a_keeper_restarts_with_growing_pauses(tmp_path: Path) -> None:
    guard = Guard()
    child = a_child(guard, tmp_path, "raise SystemExit(4)")
    now = [0.0]
    starts: list[float] = []

    def restart() -> None:
        starts.append(now[0])
        child.start()

    keeper = Keeper(child, restart, clock=lambda: now[0])
    child.start()
    while len(starts) < 4:
        assert child.pid is not None
        if child.is_running:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        keeper.look()
        now[0] += 0.5

    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]
    child.stop()
    guard.close()
