"""Engines as processes of their own, asked line by line, so that their rounds can take turns.

The child's half runs in environments that hold nothing of this project: standard library only.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[2]

Answer = dict[str, Any]
Handler = Callable[[Answer], Answer]


# ---------------------------------------------------------------------------------- in the child


def serve(start: Callable[[Answer], Handler]) -> None:
    """Answer lines of JSON until there are no more.

    Parameters
    ----------
    start
        Takes the first line, loads what is to be measured, gives what answers the others.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # Whatever libraries print is not an answer.
    os.dup2(2, 1)
    began = time.perf_counter()
    handle = start(json.loads(sys.stdin.readline()))
    _say(answers, {"start_s": time.perf_counter() - began})
    for line in sys.stdin:
        try:
            answer = handle(json.loads(line))
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        _say(answers, answer | {"peak_rss_mb": peak_rss_mb()})


def measured(work: Callable[[], Answer]) -> Answer:
    """Give what the work answers, with the seconds it took, by the wall and of CPU."""
    cpu_s, began = cpu_seconds(), time.perf_counter()
    answer = work()
    return {
        "seconds": time.perf_counter() - began,
        "cpu_s": cpu_seconds() - cpu_s,
        **answer,
    }


def cpu_seconds() -> float:
    """CPU seconds of this process, all its threads, and of the children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_rss_mb() -> float:
    """Most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _say(answers: TextIO, answer: Answer) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


# --------------------------------------------------------------------------------- in the parent


class ChildError(Exception):
    """The child ended, hung, or said that it cannot."""


class Child:
    """A started engine.

    Parameters
    ----------
    log
        Where what it prints goes.
    """

    def __init__(
        self,
        command: Sequence[str],
        first: Answer,
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        self._log = log
        self.peak_rss_mb = 0.0
        with log.open("w") as stream:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
            )
        self.start_s = float(self.ask(first, timeout_s=timeout_s)["start_s"])

    def ask(self, question: Answer, *, timeout_s: float = 120.0) -> Answer:
        """Ask and wait for the answer.

        Raises
        ------
        ChildError
            There is none in time, or it is an error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = Timer(timeout_s, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            raise ChildError(f"no answer in {timeout_s:.0f} s, or it ended: {self._last_words()}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise ChildError(str(answer["error"]))
        self.peak_rss_mb = max(self.peak_rss_mb, float(answer.get("peak_rss_mb", 0.0)))
        return answer

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"
