"""Child processes: started in their own session, logged to a file, stopped for certain."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

LOG_LIMIT_BYTES = 20_000_000


class Guard:
    """The guard process; see `guard.py`. Thread-safe."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("guard.py")
        self._lock = threading.Lock()
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, pid: int, stop_signal: int) -> bool:
        """End this process when we die; False when it is too late, since all has been ended."""
        return self._tell(f"+{pid} {stop_signal}\n")

    def forget(self, pid: int) -> None:
        """Leave this process alone: it is gone, and its number may be another's soon."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Let the guard end what is left and exit."""
        with self._lock, contextlib.suppress(OSError):
            self._closed = True
            self._stdin().close()
        self._process.wait()

    def _tell(self, line: str) -> bool:
        with self._lock:
            if self._closed:
                return False
            # A guard that somebody killed must not take the cloud with it.
            with contextlib.suppress(OSError):
                self._stdin().write(line.encode())
                self._stdin().flush()
            return True

    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin


class Child:
    """One program that can be started again and again.

    Parameters
    ----------
    log
        File that its standard output and error are appended to; kept under 20 MB by putting it
        aside at a start.
    stop_signal, grace_s
        How it is asked to stop, and how long before it is killed with its whole process group.
    user
        System user to run as; None for our own.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        guard: Guard,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: int = signal.SIGTERM,
        grace_s: float = 10.0,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.environment = environment
        self._guard = guard
        self._log = log
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._grace_s = grace_s
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, pass_fds: Sequence[int] = ()) -> None:
        """Start it; what ran before must be gone."""
        with open_log(self._log) as log:
            self._process = subprocess.Popen(
                self.argv,
                env=None if self.environment is None else dict(self.environment),
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )
        if not self._guard.watch(self._process.pid, self._stop_signal):
            self.kill()

    @property
    def pid(self) -> int | None:
        """Its process id, None before the first start."""
        return self._process.pid if self._process else None

    def exit_code(self) -> int | None:
        """Give how it ended, None while it runs (or was never started)."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None:
            self._guard.forget(self._process.pid)
        return code

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self.exit_code() is None

    def ask_to_stop(self) -> None:
        """Send the stop signal and do not wait."""
        self._signal(self._stop_signal)

    def stop(self) -> None:
        """Ask it to stop, wait, and kill it with its group when it does not."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._guard.forget(self._process.pid)

    def kill(self) -> None:
        """End it and its process group at once, and wait until it is gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._guard.forget(self._process.pid)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to; one that has grown too large is put aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")
