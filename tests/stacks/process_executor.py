"""Lambda on LocalStack without Docker: execution environments as plain processes.

LocalStack loads it by the entry point that `tests/localstack.py` writes, into an environment of its
own: nothing of this project may be imported here. Each execution environment is AWS's interface
emulator (RIE) with `awslambdaric`, the code as LocalStack has unpacked it, and the layers on the
path, of which LocalStack's free edition does nothing by itself.

PROCESS_EXECUTOR_RIE and PROCESS_EXECUTOR_PYTHON name the programs; variables that begin with
PROCESS_EXECUTOR_SET_ are handed to every function.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from localstack import config
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

START_S = 60.0
STOP_S = 5.0
HOST = "127.0.0.1"
INVOCATION = "/2015-03-31/functions/function/invocations"
SET = "PROCESS_EXECUTOR_SET_"


class ProcessExecutorPlugin(RuntimeExecutorPlugin):  # type: ignore[misc]
    """What LAMBDA_RUNTIME_EXECUTOR=process loads."""

    name = "process"

    def load(self, *_: Any, **__: Any) -> type[ProcessExecutor]:
        return ProcessExecutor


class ProcessExecutor(RuntimeExecutor):  # type: ignore[misc]
    """One execution environment. LocalStack gives it one invocation at a time."""

    def __init__(self, id: str, function_version: Any) -> None:
        super().__init__(id=id, function_version=function_version)
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        name = function_version.id.function_name
        self._log = Path(config.dirs.tmp) / f"{name}-{id}.log"

    def start(self, env_vars: dict[str, str]) -> None:
        settings = self.function_version.config
        self.prepare_version(self.function_version)
        code = settings.code.get_unzipped_code_location()
        layers = [f"{one.code.get_unzipped_code_location()}/python" for one in settings.layers]
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(config.dirs.tmp),
            **{name: str(value) for name, value in env_vars.items()},
            **{name[len(SET) :]: v for name, v in os.environ.items() if name.startswith(SET)},
            "LAMBDA_TASK_ROOT": str(code),
            "PYTHONPATH": os.pathsep.join([str(code), *layers]),
        }
        addresses = (f"{HOST}:{self._port}", f"{HOST}:{_free_port()}")
        command = [
            os.environ["PROCESS_EXECUTOR_RIE"],
            *("--runtime-interface-emulator-address", addresses[0]),
            *("--runtime-api-address", addresses[1]),
            *(os.environ["PROCESS_EXECUTOR_PYTHON"], "-m", "awslambdaric", settings.handler),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=code,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection((HOST, self._port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"RIE does not start: {self.get_logs()}") from None
                time.sleep(0.02)

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        began = self._log.stat().st_size
        request = urllib.request.Request(
            f"http://{HOST}:{self._port}{INVOCATION}", data=payload["payload"].encode()
        )
        limit_s = self.function_version.config.timeout + START_S
        try:
            with urllib.request.urlopen(request, timeout=limit_s) as answer:
                body, is_error = answer.read(), False
        except urllib.error.HTTPError as exc:
            with exc:
                body, is_error = exc.read(), True
        body, failed = _read(body)
        with self._log.open("rb") as log:
            log.seek(began)
            said = log.read().decode(errors="replace")
        return InvocationResult(payload["invoke-id"], body, is_error or failed, said)

    def stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def get_logs(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def get_address(self) -> str:
        return HOST

    def get_endpoint_from_executor(self) -> str:
        return HOST

    def get_runtime_endpoint(self) -> str:
        return f"http://{HOST}:{self._port}"

    @classmethod
    def prepare_version(cls, function_version: Any) -> None:
        settings = function_version.config
        for code in (settings.code, *(layer.code for layer in settings.layers)):
            code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: Any) -> None:
        """Leave what is unpacked: it goes with LocalStack's directory."""


def _read(body: bytes) -> tuple[bytes, bool]:
    """Give an answer and whether it is an error, which comes with status 200, too."""
    try:
        answer = json.loads(body)
    except ValueError:
        # Plain text is what it says when the time is up.
        told = {"errorType": "Sandbox.Timedout", "errorMessage": body.decode(errors="replace")}
        return json.dumps(told).encode(), True
    return body, isinstance(answer, dict) and {"errorMessage", "errorType"} <= answer.keys()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
