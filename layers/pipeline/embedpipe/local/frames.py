"""JSON over a socket, one length-prefixed frame after another."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct(">I")


def send(sock: socket.socket, value: Any) -> None:
    """Write one value."""
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    sock.sendall(_LENGTH.pack(len(data)) + data)


def receive(sock: socket.socket, deadline: float | None = None) -> Any:
    """Read one value.

    Raises
    ------
    EOFError
        The other side is gone.
    TimeoutError
        `deadline`, on the monotonic clock, has passed.
    """
    (length,) = _LENGTH.unpack(_read(sock, _LENGTH.size, deadline))
    return json.loads(_read(sock, length, deadline).decode("utf-8", "surrogatepass"))


def _read(sock: socket.socket, count: int, deadline: float | None) -> bytes:
    data = bytearray(count)
    view = memoryview(data)
    filled = 0
    while filled < count:
        if deadline is not None:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            sock.settimeout(remaining_s)
        received = sock.recv_into(view[filled:])
        if received == 0:
            raise EOFError
        filled += received
    return bytes(data)
