"""Carries TCP connections from an address that containers reach to ports on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Thread

_PIECE_BYTES = 65_536


@contextmanager
def relayed(host: str, ports: Mapping[int, int]) -> Iterator[list[int]]:
    """Listen on ports of one of this machine's addresses, as long as this lasts; give them.

    Parameters
    ----------
    ports
        By the port that is listened on, 0 for any, the port of loopback that it stands for.
    """
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="relay", daemon=True)
    thread.start()
    relay = _Relay()
    try:
        yield asyncio.run_coroutine_threadsafe(relay.listen(host, ports), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(relay.end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class _Relay:
    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []

    async def listen(self, host: str, ports: Mapping[int, int]) -> list[int]:
        for port, to in ports.items():
            self._servers.append(await asyncio.start_server(_Carrier(to), host, port))
        return [server.sockets[0].getsockname()[1] for server in self._servers]

    async def end(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Carrier:
    def __init__(self, port: int) -> None:
        self._port = port
        # The loop itself forgets a task that nobody holds.
        self._carrying: set[asyncio.Task[None]] = set()

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            back.close()
            writer.close()


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry one way until that side has said its last; the other way may still be used."""
    while piece := await source.read(_PIECE_BYTES):
        sink.write(piece)
        await sink.drain()
    with suppress(OSError):
        sink.write_eof()
