"""The processes of a run, forked again as soon as they are gone."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from embedpipe.local import frames
from embedpipe.local.errors import InvocationError, ThrottledError

from tests.chaos.forks import Zygote

_INIT_S = 30.0
_GLANCE_S = 0.02


@dataclass(frozen=True)
class Role:
    """What a process is."""

    name: str
    cwd: Path
    environment: Mapping[str, str]
    log: Path
    timeout_s: float = 30.0

    def asked(self, **more: Any) -> dict[str, Any]:
        """What the zygote is told."""
        return {
            "name": self.name,
            "cwd": str(self.cwd),
            "environment": dict(self.environment),
            "log": str(self.log),
            **more,
        }


class Process:
    """One process of a role, at most one at a time; `pid` is 0 between two."""

    def __init__(self, role: Role, zygote: Zygote) -> None:
        self.role = role
        self._zygote = zygote
        self.pid = 0
        self.forks = 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs (or is stopped)."""
        return self.pid != 0 and self._zygote.is_alive(self.pid)

    def start(self) -> None:
        """Fork it; what was before must be gone."""
        self.pid = self._fork()
        self.forks += 1

    def _fork(self) -> int:
        raise AssertionError

    def signal(self, number: int) -> bool:
        """Send it a signal; False when there is no process now."""
        pid = self.pid
        return pid != 0 and self._zygote.signal(pid, number)


class Worker(Process):
    """An embed worker."""

    def __init__(self, role: Role, zygote: Zygote, program: Path, slow_s: float) -> None:
        super().__init__(role, zygote)
        self._more = {"role": "worker", "program": str(program), "slow_s": slow_s}

    def _fork(self) -> int:
        return self._zygote.fork(self.role.asked(**self._more))


class Environment(Process):
    """A Lambda execution environment; `invoke` is for one thread at a time."""

    def __init__(self, role: Role, zygote: Zygote) -> None:
        super().__init__(role, zygote)
        self._socket: socket.socket | None = None

    def _fork(self) -> int:
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            asked = self.role.asked(role="function", handler="app.lambda_handler")
            pid = self._zygote.fork(asked, [theirs.fileno()])
        self._socket = ours
        return pid

    def invoke(self, event: Any) -> Any:
        """Run the handler. Raises InvocationError when it raised, died or ran out of time."""
        if self._socket is None or not self.is_alive:
            self.start()
        assert self._socket is not None
        timeout_s = self.role.timeout_s
        request = {"event": event, "request_id": str(uuid4()), "timeout_s": timeout_s}
        try:
            if self._is_new:
                frames.receive(self._socket, time.monotonic() + _INIT_S)
            self._told = self.forks
            frames.send(self._socket, request)
            answer = frames.receive(self._socket, time.monotonic() + timeout_s)
        except TimeoutError:
            self._end()
            raise InvocationError("Sandbox.Timedout", "out of time") from None
        except (EOFError, OSError):
            self._end()
            raise InvocationError("Runtime.ExitError", f"{self.role.name} is gone") from None
        if "error" in answer:
            raise InvocationError(answer["error"]["type"], answer["error"]["message"])
        return answer.get("result")

    _told = 0

    @property
    def _is_new(self) -> bool:
        return self._told != self.forks

    def _end(self) -> None:
        self.signal(9)
        deadline = time.monotonic() + 5
        while self.is_alive and time.monotonic() < deadline:
            time.sleep(0.002)
        self.close()

    def close(self) -> None:
        """Let go of it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Function:
    """The environments of one function: as many invocations at once as there are."""

    def __init__(self, role: Role, zygote: Zygote, count: int) -> None:
        self.max_concurrency = count
        self.environments = [Environment(role, zygote) for _ in range(count)]
        self._idle = list(self.environments)
        self._changed = threading.Condition()
        self._is_closed = False

    def invoke(self, event: Any) -> Any:
        """Run it on one event, when an environment is free."""
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._is_closed)
            if self._is_closed:
                raise ThrottledError
            environment = self._idle.pop(0)
        try:
            return environment.invoke(event)
        finally:
            with self._changed:
                self._idle.append(environment)
                self._changed.notify()

    def revive(self) -> None:
        """Fork again what died while nobody used it."""
        for environment in self.environments:
            if environment.is_alive:
                continue
            with self._changed:
                if environment not in self._idle or self._is_closed:
                    continue
                self._idle.remove(environment)
            try:
                environment.start()
            finally:
                with self._changed:
                    self._idle.append(environment)
                    self._changed.notify()

    def close(self) -> None:
        """Take no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class Keeper:
    """Forks again whatever is gone, in a thread of its own."""

    def __init__(self, functions: list[Function], workers: list[Worker]) -> None:
        self._functions = functions
        self._workers = workers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Fork everything for the first time, and look after it."""
        self._thread.start()

    def stop(self) -> None:
        """Fork no more."""
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.wait(_GLANCE_S):
            with suppress(RuntimeError, OSError):
                for function in self._functions:
                    function.revive()
                for worker in self._workers:
                    if not worker.is_alive:
                        worker.start()
