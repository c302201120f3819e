"""The inside of a Lambda execution environment: imports a handler, serves one event at a time.

Runs as `python -m embedpipe.local.runtime SOCKET_FD CODE_DIRECTORY MODULE.FUNCTION`, as the Lambda
runtime would: the code directory first on the path, the handler imported once, its memory kept from
one invocation to the next. Ends when the other side of the socket is gone.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedpipe.local import frames

RESPONSE_LIMIT_BYTES = 6_291_556

Handler = Callable[[Any, "Context"], Any]


class Context:
    """What a handler is told about its invocation; the attributes of Lambda's own context."""

    def __init__(self, request_id: str, timeout_s: float) -> None:
        name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "function")
        region = os.environ.get("AWS_REGION", "us-east-1")
        self.aws_request_id = request_id
        self.function_name = name
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.invoked_function_arn = f"arn:aws:lambda:{region}:000000000000:function:{name}"
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self.identity = None
        self.client_context = None
        self._deadline = time.monotonic() + timeout_s

    def get_remaining_time_in_millis(self) -> int:
        """Give the milliseconds that are left before the environment is killed."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def load(code_directory: Path, handler: str) -> Handler:
    """Import the handler as Lambda does: its directory first on the path."""
    sys.path.insert(0, str(code_directory))
    module, _, function = handler.rpartition(".")
    found: Handler = getattr(importlib.import_module(module.replace("/", ".")), function)
    return found


def serve(sock: socket.socket, handler: Handler) -> None:
    """Answer invocations until the other side is gone."""
    while True:
        try:
            request = frames.receive(sock)
        except (EOFError, ConnectionError):
            return
        frames.send(sock, _answer(handler, request))


def _answer(handler: Handler, request: dict[str, Any]) -> dict[str, Any]:
    context = Context(request["request_id"], request["timeout_s"])
    try:
        result = handler(request["event"], context)
    except SystemExit:
        raise
    except BaseException as exc:  # noqa: BLE001 - Lambda reports whatever a handler raises
        return _error(exc)
    try:
        size = len(json.dumps(result, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    except (TypeError, ValueError) as exc:
        return {"error": {"type": "Runtime.MarshalError", "message": str(exc)}}
    if size > RESPONSE_LIMIT_BYTES:
        message = f"Response payload size ({size} bytes) exceeded {RESPONSE_LIMIT_BYTES} bytes"
        return {"error": {"type": "Function.ResponseSizeTooLarge", "message": message}}
    return {"result": result}


def _error(exc: BaseException, error_type: str | None = None) -> dict[str, Any]:
    traceback.print_exception(exc)
    sys.stderr.flush()
    return {"error": {"type": error_type or type(exc).__name__, "message": str(exc)}}


def main() -> None:
    """Say whether the handler could be imported, then serve it."""
    descriptor, code_directory, name = sys.argv[1:4]
    with socket.socket(fileno=int(descriptor)) as sock:
        try:
            handler = load(Path(code_directory), name)
        except BaseException as exc:  # noqa: BLE001 - told to the other side, then we end
            frames.send(sock, _error(exc, "Runtime.ImportModuleError"))
            sys.exit(1)
        frames.send(sock, {"ready": True})
        serve(sock, handler)


if __name__ == "__main__":
    main()
