"""The local cloud as a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests.e2e.client import Client, Queues

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 60.0


class Cloud:
    """One `embedpipe up` on a data directory and any free port.

    Parameters
    ----------
    endpoint_url
        SQS and S3 that it is to use instead of its own.
    """

    def __init__(
        self, data_dir: Path, *, endpoint_url: str | None = None, **environment: str
    ) -> None:
        self.data_dir = data_dir
        self._elsewhere = ["--endpoint-url", endpoint_url] if endpoint_url else []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **environment,
        }
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it and wait for its line."""
        self._process = self.spawn("--port", "0", *self._elsewhere)
        line = _first_line(self._process, START_TIMEOUT_S)
        if not line.startswith("ready "):
            self.stop()
            raise AssertionError(f"no ready line but {line!r}:\n{self.log()}")
        self.url = line.split()[1]

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `embedpipe up` on the data directory."""
        with (self.data_dir / "up.log").open("a") as log:
            return subprocess.Popen(
                self._command("up", *arguments),
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line against it, to its end."""
        return subprocess.run(
            self._command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def _command(self, *arguments: str) -> list[str]:
        options = ["--data-dir", str(self.data_dir)]
        return [sys.executable, "-m", "embedpipe.cli", *arguments, *options]

    def log(self) -> str:
        """Give what it said on standard error."""
        return (self.data_dir / "up.log").read_text()

    def processes(self) -> list[psutil.Process]:
        """Give it and everything that it has started."""
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def endpoint(self) -> dict[str, Any]:
        """Give what it says of itself."""
        found: dict[str, Any] = json.loads((self.data_dir / "endpoint.json").read_text())
        return found

    def worker_pid(self) -> int:
        """Give the embed worker's process id."""
        [pid] = self.endpoint()["pids"]["workers"]
        return int(pid)

    def api_key(self) -> str:
        """Give the key that its API takes."""
        return (self.data_dir / "api_key").read_text().strip()

    def send(self, signal_number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(signal_number)

    def wait(self) -> int:
        """Wait for its end; give its exit code."""
        assert self._process is not None
        code = self._process.wait(STOP_TIMEOUT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def stop(self) -> int:
        """Stop it in order."""
        self.send(signal.SIGTERM)
        return self.wait()

    def client(self, key: str | None = None) -> AbstractContextManager[Client]:
        """Make a client; with the right API key, if no other is given."""
        return closing(Client(self.url, key or self.api_key()))

    def queues(self) -> AbstractContextManager[Queues]:
        """Make a client of its queues."""
        endpoint = self.endpoint()
        return closing(Queues(endpoint["endpoint_url"], endpoint["queues"]))

    @contextmanager
    def frozen(self, *pids: int) -> Iterator[None]:
        """Freeze some of its processes, so that what they would do has not been done yet."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@contextmanager
def running(made: Cloud) -> Iterator[Cloud]:
    """Run a cloud. A laptop that cannot start one skips, with the reason; the build fails."""
    try:
        made.start()
    except AssertionError as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the local cloud does not start here: {exc}")
    yield made
    assert made.stop() == 0, made.log()


def with_model(data_dir: Path, models: Path) -> Path:
    """Give a data directory that has the model; its files are linked, not copied."""
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(models, data_dir / "models", copy_function=os.link)
    except OSError:
        shutil.rmtree(data_dir / "models", ignore_errors=True)
        shutil.copytree(models, data_dir / "models")
    return data_dir


def gone(processes: list[psutil.Process], timeout_s: float = 20.0) -> list[psutil.Process]:
    """Wait for processes to end; give those that do not."""
    deadline = time.monotonic() + timeout_s
    while True:
        alive = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.1)


def _first_line(process: subprocess.Popen[str], timeout_s: float) -> str:
    lines: queue.Queue[str] = queue.Queue()

    def read(stream: IO[str]) -> None:
        lines.put(stream.readline())

    assert process.stdout is not None
    threading.Thread(target=read, args=(process.stdout,), daemon=True).start()
    try:
        return lines.get(timeout=timeout_s)
    except queue.Empty:
        return ""
