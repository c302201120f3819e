"""A function under AWS's own Lambda runtime: the interface emulator and client, as processes.

The emulator (RIE) speaks the Runtime API to `awslambdaric`, which is what Lambda runs, and takes
invocations by HTTP. Its answers need care: an error of the handler comes with status 200.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from embedpipe.local.process import Child, Guard

from tests.ministack import free_port
from tests.postgres import is_ci

ROOT = Path(__file__).parents[2]
START_S = 60.0
INVOCATION = "/2015-03-31/functions/function/invocations"
#: What it answers in plain text, and with status 200, when the time is up.
_TIMED_OUT = re.compile(r"Task timed out after [\d.]+ seconds")
#: What a start took, imports and all. The `Init Duration` of the emulator's report line is not it:
#: that is 0, and the start is counted into the first invocation's duration.
COLD_START = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)\)")
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


class FunctionError(Exception):
    """The invocation had no answer: the handler raised, its process ended, or its time was up."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


@dataclass(frozen=True)
class Deployed:
    """A function as Lambda is told of it.

    Attributes
    ----------
    path
        What it may import beside its own folder, as /opt/python of its layers would be.
    python
        The interpreter, and its options.
    """

    name: str
    code: Path
    handler: str = "app.lambda_handler"
    timeout_s: float = 30.0
    memory_mb: int = 1024
    path: tuple[Path, ...] = ()
    python: tuple[str, ...] = (sys.executable,)
    environment: Mapping[str, str] = field(default_factory=dict)


def the_emulator() -> Path:
    """Give the emulator's program; without it, skip on a laptop and fail in CI."""
    program = Path(sys.prefix) / "bin" / "aws-lambda-rie"
    if program.is_file() and platform.system() == "Linux":
        return program
    reason = (
        f"{program} is missing, or runs on Linux only: `scripts/rie {sys.prefix}` puts it there"
    )
    if is_ci():
        pytest.fail(reason)
    pytest.skip(reason)


class Runtime:
    """One execution environment of a function; invocations wait for each other.

    Without the lock the emulator panics: it knows one invocation at a time.
    """

    def __init__(self, program: Path, function: Deployed, *, guard: Guard, log: Path) -> None:
        self._function = function
        self._address = f"127.0.0.1:{free_port()}"
        self._log = log
        self._lock = threading.Lock()
        self._child = Child(
            function.name,
            [
                str(program),
                "--runtime-interface-emulator-address",
                self._address,
                "--runtime-api-address",
                f"127.0.0.1:{free_port()}",
                *function.python,
                "-m",
                "awslambdaric",
                function.handler,
            ],
            guard=guard,
            log=log,
            environment=_environment(function),
            cwd=function.code,
        )

    def start(self) -> None:
        """Start it, and wait until it listens; the handler is imported by the first invocation."""
        self._child.start()
        deadline = time.monotonic() + START_S
        while True:
            try:
                # Anything but an invocation: that would be one.
                urllib.request.urlopen(f"http://{self._address}/", timeout=5).close()
                return
            except urllib.error.HTTPError as exc:
                exc.close()
                return
            except OSError:
                if not self._child.is_running or time.monotonic() > deadline:
                    raise RuntimeError(f"the emulator does not start: {self.log()}") from None
                time.sleep(0.02)

    def invoke(self, event: Any) -> Any:
        """Give the handler's answer. Raises FunctionError."""
        request = urllib.request.Request(
            f"http://{self._address}{INVOCATION}", data=json.dumps(event).encode()
        )
        limit_s = self._function.timeout_s + START_S  # it ends the function itself, before that
        with self._lock:
            try:
                with urllib.request.urlopen(request, timeout=limit_s) as response:
                    text = response.read().decode()
            except urllib.error.HTTPError as exc:
                with exc:
                    text = exc.read().decode()
                raise _failure(text) from None
        return read_answer(text)

    def log(self) -> str:
        """Give what function and emulator have printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def cold_start_ms(self) -> float | None:
        """Give what the last start took, as the emulator reports it; None before the first."""
        found = COLD_START.findall(self.log())
        return float(found[-1]) if found else None

    def stop(self) -> None:
        """End the emulator and the process of the function."""
        self._child.kill()


def read_answer(text: str) -> Any:
    """Give the answer that came with status 200, unless it is an error in its clothes.

    Raises
    ------
    FunctionError
        Examples: `{"errorMessage": …, "errorType": …}`, or plain text when the time was up.
    """
    if _TIMED_OUT.search(text) and not text.startswith("{"):
        raise FunctionError("Sandbox.Timedout", text)
    try:
        answer = json.loads(text)
    except ValueError:
        raise FunctionError("Runtime.NoJson", text[:200]) from None
    if isinstance(answer, dict) and {"errorMessage", "errorType"} <= answer.keys():
        raise FunctionError(answer["errorType"], answer["errorMessage"])
    return answer


def _failure(text: str) -> FunctionError:
    try:
        told = json.loads(text)
    except ValueError:
        return FunctionError("Runtime.Unknown", text[:200])
    return FunctionError(told.get("errorType", "Runtime.Unknown"), told.get("errorMessage", ""))


def _environment(function: Deployed) -> dict[str, str]:
    region = function.environment.get("AWS_REGION", "us-east-1")
    return {
        **{name: os.environ[name] for name in _INHERITED if name in os.environ},
        "TZ": ":UTC",
        "PYTHONPATH": os.pathsep.join(map(str, (function.code, *function.path))),
        "LAMBDA_TASK_ROOT": str(function.code),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(int(function.timeout_s)),
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        **function.environment,
    }
