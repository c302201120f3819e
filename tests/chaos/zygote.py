"""The process that all others are forked from: every import done, nothing opened.

    python -m tests.chaos.zygote SOCKET_FD EVENTS_FILE

One thread: a fork copies only the thread that calls it, and locks of others would stay locked. The
other side sends one packet per request, `{"fork": …}` with a socket or `{"signal": pid, "number":
n}`. It gets `{"forked": pid}`, `{"signalled": bool}`, and `{"exited": pid, …}` unasked.
Signals go through here, as only a parent can be sure that a process id is still its child's.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

_PACKET_BYTES = 65_536
_GLANCE_S = 0.01
_PR_SET_PDEATHSIG = 1

#: What the roles import, so that their children need not.
_PRELOADED = (
    "boto3",
    "botocore.auth",
    "botocore.endpoint",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.serialize",
    "numpy",
    "psycopg",
    "psycopg_pool",
    "pydantic",
    "starlette.applications",
    "tokenizers",
    "uvicorn",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.http.h11_impl",
    "aws_lambda_powertools.logging",
    "aws_lambda_powertools.metrics",
    "aws_lambda_powertools.tracing",
    "aws_lambda_powertools.utilities.batch",
    "aws_xray_sdk.core",
    "embedpipe.adapters.aws",
    "embedpipe.adapters.catalogue",
    "embedpipe.adapters.claim_check",
    "embedpipe.adapters.embed_endpoint",
    "embedpipe.adapters.postgres",
    "embedpipe.adapters.s3",
    "embedpipe.adapters.sqs",
    "embedpipe.api.resolver",
    "embedpipe.api.services",
    "embedpipe.bootstrap",
    "embedpipe.bootstrap.worker",
    "embedpipe.consumer",
    "embedpipe.local.runtime",
    "embedpipe.stages.chunk",
    "embedpipe.stages.embed",
    "embedpipe.stages.relay",
    "embedpipe.stages.rescue",
    "embedpipe.stages.store",
    "embedpipe.telemetry",
    "embedpipe.worker",
    "embedpipe.worker.endpoint",
    "tests.chaos.roles",
)


def main() -> None:
    """Import, then serve until the other side is gone; its children go with it."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _PRELOADED:
        importlib.import_module(name)
    from tests.chaos import roles

    roles.prepare(sys.argv[2])
    gc.collect()
    gc.freeze()
    children: set[int] = set()
    try:
        _send(control, {"ready": True})
        _serve(control, children)
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _serve(control: socket.socket, children: set[int]) -> None:
    while True:
        readable, _, _ = select.select([control], [], [], _GLANCE_S)
        if readable:
            data, fds, _, _ = socket.recv_fds(control, _PACKET_BYTES, 4)
            if not data:
                return
            request = json.loads(data)
            if "fork" in request:
                pid = _fork(control, request["fork"], fds)
                children.add(pid)
                _send(control, {"forked": pid})
            else:
                _send(control, {"signalled": _signal(children, request)})
            for descriptor in fds:
                os.close(descriptor)
        _reap(control, children)


def _signal(children: set[int], request: dict[str, Any]) -> bool:
    if request["signal"] not in children:
        return False
    os.kill(request["signal"], request["number"])
    return True


def _reap(control: socket.socket, children: set[int]) -> None:
    while children:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        children.discard(pid)
        cpu_s = round(used.ru_utime + used.ru_stime, 3)
        code = os.waitstatus_to_exitcode(status)
        _send(control, {"exited": pid, "status": code, "cpu_s": cpu_s, "rss_kb": used.ru_maxrss})


def _send(control: socket.socket, value: dict[str, Any]) -> None:
    control.send(json.dumps(value).encode())


def _fork(control: socket.socket, asked: dict[str, Any], fds: list[int]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _become_a_child(control, parent, asked)
        from tests.chaos import roles

        status = roles.run(asked, fds)
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - the log is all that is left of it
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # No way back into the zygote's own code.
        os._exit(status)


def _become_a_child(control: socket.socket, parent: int, asked: dict[str, Any]) -> None:
    control.close()
    # A child whose zygote is gone is nobody's.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A killer's core would be large, and of no use.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.environ["TZ"] = "UTC"
    time.tzset()
    import random

    random.seed(f"{asked['seed']}/{time.time_ns()}")


if __name__ == "__main__":
    main()
