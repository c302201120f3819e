"""Run the local cloud as a child, and see what each of its processes costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Cloud:
    """A running local cloud."""

    url: str
    api_key: str
    process: psutil.Process
    start_s: float
    directory: Path

    def logs(self) -> list[Path]:
        """Where its processes write, what `embedpipe up` says included."""
        return [self.directory.parent / "up.log", *sorted((self.directory / "logs").glob("*.log"))]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds used so far, by part."""
        used: dict[str, float] = defaultdict(float)
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                times = process.cpu_times()
                used[_part(process)] += times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return dict(used)

    def rss_mb(self) -> dict[str, float]:
        """Memory by part: PSS, which counts shared pages once, in MB."""
        used: dict[str, float] = defaultdict(float)
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                used[_part(process)] += process.memory_full_info().pss / 1e6
            except psutil.NoSuchProcess:
                continue
        return dict(used)


@contextmanager
def running(*arguments: str) -> Iterator[Cloud]:
    """Start a fresh cloud in a temporary directory and stop it afterwards.

    Parameters
    ----------
    arguments
        More of what `embedpipe up` takes.
    """
    models = os.environ.get("MODELS_DIR", str(ROOT / ".embedpipe" / "models"))
    with tempfile.TemporaryDirectory(prefix="embedpipe-bench-") as temporary:
        directory = Path(temporary) / "cloud"
        log = (Path(temporary) / "up.log").open("w")
        began = time.perf_counter()
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "embedpipe.cli",
                "up",
                f"--data-dir={directory}",
                "--port=0",
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env={**os.environ, "MODELS_DIR": models},
        )
        try:
            assert child.stdout is not None
            line = child.stdout.readline().split()
            if line[:1] != ["ready"]:
                raise SystemExit("the local cloud did not start; see `embedpipe up`")
            yield Cloud(
                url=line[1],
                api_key=(directory / "api_key").read_text().strip(),
                process=psutil.Process(child.pid),
                start_s=time.perf_counter() - began,
                directory=directory,
            )
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=60)
            log.close()


def _part(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    for part, marks in _PARTS.items():
        if any(mark in command for mark in marks):
            return part
    return "postgres" if "postgres" in process.name() else "other"


_PARTS = {
    "embed worker": ["embed_gpu"],
    "api function": ["functions.api", "functions/api"],
    "chunk function": ["functions.chunk", "functions/chunk"],
    "store function": ["functions.store", "functions/store"],
    "maintenance function": ["functions.maintenance", "functions/maintenance"],
    "ministack (SQS, S3)": ["ministack"],
    "postgres": ["postgres"],
    "gateway and pollers": ["embedpipe.cli", "embedpipe up"],
}
