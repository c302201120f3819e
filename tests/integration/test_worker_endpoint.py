"""The worker's endpoint on a real socket."""

from __future__ import annotations

import gc
import socket

from tests.unit.worker.bench import Bench


def test_a_body_does_not_wait_until_the_client_has_acknowledged_the_headers() -> None:
    endpoint = Bench().worker.endpoint
    endpoint.start()

    try:
        with socket.create_connection(("127.0.0.1", endpoint.port)) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(1)
            accepted = _peer_of(client)
            is_sent_at_once = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        endpoint.close()

    assert is_sent_at_once


def _peer_of(client: socket.socket) -> socket.socket:
    """Find the server's end of a connection, which is in this process."""
    [found] = [
        one
        for one in gc.get_objects()
        if isinstance(one, socket.socket)
        and one.fileno() >= 0
        and one.type == socket.SOCK_STREAM
        and one is not client
        and _address(one) == client.getsockname()
    ]
    return found


def _address(one: socket.socket) -> object:
    try:
        return one.getpeername()
    except OSError:
        return None
