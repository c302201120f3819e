"""Lambda execution environments: child processes that run the deployed handlers, unchanged."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from embedpipe.local import frames
from embedpipe.local.errors import InvocationError
from embedpipe.local.process import Child, Guard

# Lambda allows 10 s; a laptop that starts everything at once may be slower.
INIT_TIMEOUT_S = 60.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Function:
    """What the local cloud knows about a deployed function."""

    name: str
    code_directory: Path
    handler: str = "app.lambda_handler"
    timeout_s: float = 30.0
    memory_mb: int = 512
    environment: Mapping[str, str] = field(default_factory=dict)


class Environment:
    """One execution environment: at most one invocation at a time, started when first needed."""

    def __init__(self, function: Function, *, guard: Guard, log: Path) -> None:
        self._function = function
        self._socket: socket.socket | None = None
        self._child = Child(
            function.name,
            [sys.executable, "-m", "embedpipe.local.runtime"],
            guard=guard,
            log=log,
            environment=_environment_of(function),
            cwd=function.code_directory,
            grace_s=3.0,
        )

    @property
    def pid(self) -> int | None:
        """Process id of the running environment."""
        return self._child.pid if self._child.is_running else None

    def start(self) -> None:
        """Start the process and import the handler, unless that is done.

        Raises
        ------
        InvocationError
            The handler cannot be imported.
        """
        if self._socket is not None and self._child.is_running:
            return
        self.stop()
        ours, theirs = socket.socketpair()
        self._child.argv[3:] = [
            str(theirs.fileno()),
            str(self._function.code_directory),
            self._function.handler,
        ]
        with theirs:
            self._child.start(pass_fds=[theirs.fileno()])
        self._socket = ours
        self._exchange(INIT_TIMEOUT_S)

    def invoke(self, event: Any) -> Any:
        """Run the handler on one event.

        Raises
        ------
        InvocationError
            It raised, died or ran out of time. After the latter two the next one starts anew.
        """
        self.start()
        request = {
            "event": event,
            "request_id": str(uuid4()),
            "timeout_s": self._function.timeout_s,
        }
        return self._exchange(self._function.timeout_s, request).get("result")

    def stop(self) -> None:
        """End the process. An invocation in progress is lost."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._child.stop()

    def _exchange(self, timeout_s: float, request: Any = None) -> dict[str, Any]:
        assert self._socket is not None
        try:
            if request is not None:
                self._socket.settimeout(timeout_s)
                frames.send(self._socket, request)
            answer: dict[str, Any] = frames.receive(self._socket, time.monotonic() + timeout_s)
        except TimeoutError:
            self._child.kill()
            message = f"Task timed out after {timeout_s:.2f} seconds"
            raise InvocationError("Sandbox.Timedout", message) from None
        except (EOFError, OSError):
            self._child.kill()
            message = f"{self._function.name} exited with {self._child.exit_code()}"
            raise InvocationError("Runtime.ExitError", message) from None
        if "error" in answer:
            raise InvocationError(answer["error"]["type"], answer["error"]["message"])
        return answer


def _environment_of(function: Function) -> dict[str, str]:
    region = function.environment.get("AWS_REGION", "us-east-1")
    return {
        **{name: os.environ[name] for name in INHERITED if name in os.environ},
        "TZ": ":UTC",
        "PYTHONUNBUFFERED": "1",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{uuid4().hex}",
        "LAMBDA_TASK_ROOT": str(function.code_directory),
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        **function.environment,
    }
