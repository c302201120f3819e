"""A TCP proxy that does to connections what networks do.

    with Proxy(("127.0.0.1", 4566)) as proxy:      # or Proxy("/tmp/.s.PGSQL.5432"), a UNIX socket
        proxy.host, proxy.port, proxy.url          # "127.0.0.1", 40123, "http://127.0.0.1:40123"
        proxy.refuse()                 # nobody listens: new connections are refused, old ones reset
        proxy.reset()                  # accepts and resets at once: as `refuse`, but can be counted
        proxy.black_hole()             # accepts, and nothing passes, either way; held until `heal`
        proxy.drop_responses(count=3)  # the server acts, its answer is lost, the connection reset
        proxy.latency(0.2)             # each piece, either way, arrives so many seconds late
        proxy.cut()                    # resets the connections that there are; new ones work
        proxy.heal()                   # back to normal
        proxy.accepted                 # connections so far, in every state but `refuse`
        proxy.lost_responses           # answers that were dropped
        proxy.is_carrying              # connections open now

Every method may be called from any thread, at any time, and takes effect before it returns. The
port stays the same, and nobody else gets it meanwhile. One thread serves all connections.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, Self, TypeVar

Target = tuple[str, int] | str
T = TypeVar("T")

_PIECE_BYTES = 65_536
#: Closing sends a reset and no farewell.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Carries connections to a target, and lets them down when it is told to."""

    def __init__(self, target: Target) -> None:
        self._target = target
        # Bound and not listening: it keeps the port while nobody listens.
        self._place = _bound(0)
        self.host, self.port = self._place.getsockname()
        self.accepted = self.lost_responses = 0
        self._mode = "open"
        self._drops: int | None = None
        self._delay_s = 0.0
        self._listener: socket.socket | None = None
        self._door: asyncio.Task[None] | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._passes = asyncio.Event()
        self._thread = Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._tell(lambda: self._set("open"))
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._place.close()

    @property
    def url(self) -> str:
        """Where clients of an HTTP server connect to."""
        return f"http://{self.host}:{self.port}"

    @property
    def is_carrying(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def heal(self) -> None:
        """Carry everything again, what was held included."""
        self._tell(lambda: self._set("open"))

    def refuse(self) -> None:
        """Let nobody in, and reset those who are."""
        self._tell(lambda: self._set("refuse"))

    def reset(self) -> None:
        """Let everybody in and reset them at once."""
        self._tell(lambda: self._set("reset"))

    def black_hole(self) -> None:
        """Let everybody in and pass nothing on."""
        self._tell(lambda: self._set("hole"))

    def drop_responses(self, count: int | None = None) -> None:
        """Reset a connection when its server answers; so many answers, None: until told else."""
        self._tell(lambda: self._set("drop", drops=count))

    def latency(self, seconds: float) -> None:
        """Pass everything on, late."""
        self._tell(lambda: self._set("open", delay_s=seconds))

    def cut(self) -> None:
        """Reset every connection that there is."""
        self._tell(self._reset_all)

    def _tell(self, act: Callable[[], T]) -> T:
        async def told() -> T:
            result = act()
            while any(connection.is_over for connection in self._connections):
                await asyncio.sleep(0)
            return result

        return asyncio.run_coroutine_threadsafe(told(), self._loop).result(10)

    def _set(self, mode: str, *, drops: int | None = None, delay_s: float = 0.0) -> None:
        self._mode, self._drops, self._delay_s = mode, drops, delay_s
        if mode in {"refuse", "reset"}:
            self._reset_all()
        if mode == "hole":
            self._passes.clear()
        else:
            self._passes.set()
        if mode == "refuse":
            self._close_door()
        elif self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(128)
            self._door = self._start(self._accept(self._listener))

    def _close_door(self) -> None:
        if self._listener is not None and self._door is not None:
            self._door.cancel()
            self._listener = self._door = None

    def _reset_all(self) -> None:
        for connection in list(self._connections):
            connection.reset()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _end(self) -> None:
        self._reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                client, _ = await self._loop.sock_accept(listener)
                self.accepted += 1
                if self._mode == "reset":
                    _reset(client)
                else:
                    self._start(self._carry(client))

    async def _carry(self, client: socket.socket) -> None:
        client.setblocking(False)
        family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setblocking(False)
        connection = _Connection(client, server)
        self._connections.add(connection)
        try:
            await connection.watch(self._passes.wait())
            await connection.watch(self._loop.sock_connect(server, self._target))
            ways = [
                self._pass(connection, client, server),
                self._pass(connection, server, client, is_answer=True),
            ]
            await asyncio.gather(*(connection.watch(way) for way in ways))
        except (OSError, asyncio.CancelledError):
            connection.reset()
        finally:
            connection.close()
            self._connections.discard(connection)

    async def _pass(
        self,
        connection: _Connection,
        source: socket.socket,
        sink: socket.socket,
        *,
        is_answer: bool = False,
    ) -> None:
        """Carry one way until that side has said its last, or either is gone."""
        with suppress(OSError, asyncio.CancelledError):
            while piece := await self._loop.sock_recv(source, _PIECE_BYTES):
                if not self._passes.is_set():
                    await self._passes.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if is_answer and self._is_dropped():
                    connection.reset()
                    return
                await self._loop.sock_sendall(sink, piece)
            await self._passes.wait()
            sink.shutdown(socket.SHUT_WR)
            return
        connection.reset()

    def _is_dropped(self) -> bool:
        if self._mode != "drop":
            return False
        self.lost_responses += 1
        if self._drops is not None:
            self._drops -= 1
            if self._drops <= 0:
                self._mode = "open"
        return True


class _Connection:
    """The two sockets of one connection, and what is under way on them."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._sockets = (client, server)
        self._under_way: set[asyncio.Future[Any]] = set()
        self.is_over = False

    async def watch(self, work: Any) -> Any:
        """Wait for something that `reset` ends: a socket may only be closed when nobody waits."""
        future = asyncio.ensure_future(work)
        self._under_way.add(future)
        try:
            if self.is_over:
                future.cancel()
            return await future
        finally:
            self._under_way.discard(future)

    def reset(self) -> None:
        """End both sides without a farewell, and all that waits for them."""
        self.is_over = True
        for future in list(self._under_way):
            future.cancel()
        for one in self._sockets:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def close(self) -> None:
        """Close both sides: at once and with a reset after `reset`."""
        for one in self._sockets:
            one.close()


def _bound(port: int) -> socket.socket:
    place = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Two of our sockets have the port at once: the one that keeps it and the one that listens.
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", port))
    place.setblocking(False)
    return place


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()
