"""The environments of a function, up to its maximum concurrency."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedpipe.local.environment import Environment, Function
from embedpipe.local.errors import ThrottledError
from embedpipe.local.process import Guard


class Pool:
    """The environments of one function, up to its maximum concurrency.

    The one used last is used next, so that a second one starts only when two are needed at once.
    """

    def __init__(
        self,
        function: Function,
        *,
        guard: Guard,
        log: Path,
        max_concurrency: int = 1,
        max_waiting: int = 100,
    ) -> None:
        self.function = function
        self.max_concurrency = max_concurrency
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._idle = [Environment(function, guard=guard, log=log) for _ in range(max_concurrency)]
        self._all = list(self._idle)
        self._waiting = 0
        self._closed = False

    def start(self) -> None:
        """Start one environment ahead of the first event."""
        with self._environment() as environment:
            environment.start()

    def invoke(self, event: Any) -> Any:
        """Run the function on one event, waiting for an environment if all are busy.

        Raises
        ------
        ThrottledError
            Too many wait already, or the pool is closed.
        InvocationError
            The function did not return.
        """
        with self._environment() as environment:
            return environment.invoke(event)

    def pids(self) -> list[int]:
        """Give the process ids of the environments that run."""
        return [pid for environment in self._all if (pid := environment.pid) is not None]

    def close(self, timeout_s: float = 10.0) -> None:
        """Let invocations in progress end, up to a limit, and stop every environment."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == len(self._all), timeout_s)
        for environment in self._all:
            environment.stop()

    @contextmanager
    def _environment(self) -> Iterator[Environment]:
        environment = self._take()
        try:
            yield environment
        finally:
            with self._changed:
                self._idle.append(environment)
                self._changed.notify_all()

    def _take(self) -> Environment:
        with self._changed:
            if not self._idle and self._waiting >= self._max_waiting:
                raise ThrottledError
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._idle or self._closed)
            finally:
                self._waiting -= 1
            if self._closed:
                raise ThrottledError
            return self._idle.pop()
