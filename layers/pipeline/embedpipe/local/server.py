"""HTTP servers in threads: the gateway's, and those that play a service of AWS."""

from __future__ import annotations

import socket
import threading
from typing import Protocol

import uvicorn
from starlette.applications import Starlette

from embedpipe.local.errors import LocalCloudError


class Served(Protocol):
    """What can be served."""

    @property
    def app(self) -> Starlette:
        """The application."""
        ...

    def close(self) -> None:
        """Give back what it needs to serve."""
        ...


class Server:
    """An HTTP server in a thread of its own."""

    def __init__(self, served: Served, listening: socket.socket, name: str = "gateway") -> None:
        self._served = served
        self._server = uvicorn.Server(
            uvicorn.Config(
                served.app,
                access_log=False,
                lifespan="off",
                log_level="warning",
                timeout_graceful_shutdown=5,
                server_header=False,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name=name, daemon=True
        )

    def start(self) -> None:
        """Start to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Let requests in progress end, for a few seconds, and stop."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._served.close()


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Take the port before anything starts; 0 takes any.

    Raises
    ------
    LocalCloudError
        Another process listens there.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as exc:
        listening.close()
        message = f"port {port} on {host} cannot be used: {exc.strerror}"
        raise LocalCloudError(message, "choose another with --port, or --port 0 for any") from None
    return listening
