"""What containers reach on the bridge is what listens on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lambdas.relay import relayed

#: Another port of it stands for the bridge: not every system has more addresses of its own.
LOOPBACK = "127.0.0.1"


@contextmanager
def an_echo() -> Iterator[int]:
    """A server on loopback that sends back what one client sends; its port."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                while piece := client.recv(4096):
                    client.sendall(piece)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def test_a_port_of_loopback_is_reached_through_another() -> None:
    sent = bytes(range(256)) * 4096
    with (
        an_echo() as port,
        relayed(LOOPBACK, {0: port}) as [bridge],
        socket.create_connection((LOOPBACK, bridge), timeout=30) as client,
    ):
        sender = threading.Thread(target=_send, args=(client, sent))
        sender.start()

        received = b"".join(iter(lambda: client.recv(65_536), b""))
        sender.join(10)

    assert received == sent


def test_nothing_is_reached_afterwards() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with relayed(LOOPBACK, {0: port}) as [bridge]:
            pass

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, bridge), timeout=10)


def _send(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
