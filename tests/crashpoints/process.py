"""Processes that may end, or wait, at every call that leaves them.

A process is what AWS would run: one invocation of a function, one life of the worker. Its calls of
the database, the queues, the object store and the model are points, numbered in order. At a point
a process may die: it does nothing more, its connections are gone and with them what was not
committed. Code that would run on the way out of an exception does nothing either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.resources import files
from threading import Lock
from typing import Any, Literal, TypeVar

import psycopg
from embedpipe import sql
from embedpipe.adapters.postgres.sessions import complete_conninfo
from embedpipe.adapters.postgres.vector_arrays import register_vector_types
from embedpipe.ports import Outgoing
from psycopg.rows import dict_row

T = TypeVar("T")
When = Literal["before", "after"]
Hook = Callable[[int, str], None]

#: Smaller than the ten that SQS takes at once: a send of several is cut in the middle, too.
SENT_AT_ONCE = 2


class DiedError(SystemExit):
    """The process is gone. Not an Exception: nothing in a process survives a kill."""


class Process:
    """One life. Each thread of an interleaving has its own.

    Parameters
    ----------
    die_at, when
        The point to die at, from 1, before or after what is called there.
    before
        Called before each point with its number and name: it may wait.
    """

    def __init__(
        self, *, die_at: int | None = None, when: When = "before", before: Hook | None = None
    ) -> None:
        self.points: list[str] = []
        self.is_dead = False
        self.connections: list[Connection] = []
        self._die_at = die_at
        self._when = when
        self._before = before

    def call(self, name: str, action: Callable[[], T]) -> T:
        """Do something outside, if the process still lives then."""
        if self.is_dead:
            raise DiedError
        self.points.append(name)
        number = len(self.points)
        if self._before is not None:
            self._before(number, name)
        is_last = number == self._die_at
        if is_last and self._when == "before":
            self.die()
        try:
            return action()
        finally:
            if is_last:
                self.die()

    def die(self) -> None:
        """End: raises DiedError, and from now on every call does."""
        self.is_dead = True
        for connection in self.connections:
            connection.close()
        raise DiedError


class Connection(psycopg.Connection[Any]):
    """A connection whose statements and commits are points of whoever holds it."""

    process: Process | None = None

    def commit(self) -> None:
        if self.process is None:
            super().commit()
        else:
            self.process.call("commit", super().commit)


class _Cursor(psycopg.Cursor[Any]):
    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Any:
        execute = super().execute
        process = self.connection.process if isinstance(self.connection, Connection) else None
        if process is None:
            return execute(query, params, **kwargs)
        return process.call(name_of(query), lambda: execute(query, params, **kwargs))


class Connections:
    """Connections of one role, kept over the lives of processes that end well."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = complete_conninfo(conninfo)
        self._idle: list[Connection] = []
        self._lock = Lock()
        #: What the server refused: deadlocks and lock time-outs, which the code takes for outages.
        self.refused: list[str] = []

    def take(self, process: Process) -> Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = Connection.connect(
                self._conninfo, prepare_threshold=None, row_factory=dict_row, cursor_factory=_Cursor
            )
            register_vector_types(connection)
        connection.process = process
        process.connections.append(connection)
        return connection

    def give(self, process: Process, connection: Connection) -> None:
        process.connections.remove(connection)
        connection.process = None
        if not connection.closed:
            with self._lock:
                self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


class Pool:
    """What a process has instead of a pool of psycopg."""

    def __init__(self, process: Process, connections: Connections) -> None:
        self._process = process
        self._connections = connections

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Connection]:
        del timeout
        if self._process.is_dead:
            raise DiedError
        connection = self._connections.take(self._process)
        try:
            yield connection
            connection.commit()
        except BaseException as error:
            if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.LockNotAvailable):
                self._connections.refused.append(type(error).__name__)
            if not self._process.is_dead:
                connection.rollback()
            raise
        finally:
            if not self._process.is_dead:
                self._connections.give(self._process, connection)

    def close(self) -> None:
        """Nothing is a process's own."""


class Watched:
    """Anything outside whose public methods are points: a queue, the object store, a model."""

    def __init__(self, target: Any, process: Process, name: str) -> None:
        self._target = target
        self._process = process
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            return self._process.call(f"{self._name}.{name}", lambda: found(*args, **kwargs))

        return called


class WatchedQueue(Watched):
    """A queue; each request of a send is a point."""

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        accepted: set[str] = set()
        for start in range(0, len(messages), SENT_AT_ONCE):
            send = partial(self._target.send, messages[start : start + SENT_AT_ONCE])
            accepted |= self._process.call(f"{self._name}.send", send)
        return accepted


def watched(targets: Mapping[str, Any], process: Process) -> dict[str, Any]:
    """Give queues of a process, by the same names; one queue has one name for all its names."""
    return {name: WatchedQueue(queue, process, queue.name) for name, queue in targets.items()}


@cache
def _names() -> dict[str, str]:
    names = {}
    for file in (files(sql) / "queries").iterdir():
        noun, _, suffix = file.name.rpartition(".")
        if suffix == "sql":
            for name, text in sql._statements(noun).items():
                names[text] = f"{noun}.{name}"
    return names


def name_of(query: Any) -> str:
    """Name a statement by its file and heading."""
    text = query.decode() if isinstance(query, bytes) else str(query)
    return _names().get(text, " ".join(text.split())[:40])


@contextmanager
def killed() -> Iterator[None]:
    """Let a process die in here."""
    with suppress(DiedError):
        yield
