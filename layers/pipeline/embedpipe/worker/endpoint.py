"""The internal HTTP endpoint: synchronous embeddings, models, health, counters."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from threading import Thread

import uvicorn

from embedpipe.worker.admission import Memory
from embedpipe.worker.context import Context
from embedpipe.worker.loading import Loader
from embedpipe.worker.routes import MAX_CONCURRENT, Status, make_app
from embedpipe.worker.serving import Serving
from embedpipe.worker.synchronous import Computes, ComputesTexts, SynchronousEmbeddings

_CLOSE_S = 2


class Endpoint:
    """Serves in a thread of its own while the worker runs.

    Parameters
    ----------
    engine
        Computes token ids.
    remote
        Has texts computed by providers; None serves no model of theirs.

    Raises
    ------
    ValueError
        A host that others can reach, and no token.
    """

    def __init__(
        self,
        context: Context,
        engine: Computes,
        status: Callable[[], Status],
        remote: ComputesTexts | None = None,
    ) -> None:
        ports, settings = context.ports, context.ports.settings
        token = settings.http_token.get_secret_value() if settings.http_token else None
        if token is None and not _is_loopback(settings.http_host):
            raise ValueError("QUERY_EMBEDDER_TOKEN is needed on a host that is not loopback")
        self._address = (settings.http_host, settings.http_port)
        memory, loader = Memory(), Loader(ports.embedders)
        embeddings = SynchronousEmbeddings(
            ports.models, engine, loader, memory=memory, remote=remote, cache=ports.cache
        )
        serving = Serving(
            embeddings,
            models=ports.models,
            embedders=ports.embedders,
            loader=loader,
            remotes=ports.remotes,
        )
        self.app = make_app(serving, status, token=token, memory=memory, counters=context.counters)
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served, 0 before the start."""
        return int(self._socket.getsockname()[1]) if self._socket else 0

    def start(self) -> None:
        """Open the port and serve. Raises OSError when the port is taken."""
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._socket = socket.create_server(self._address, family=family)
        # asyncio sets it only where the protocol is named. Without it the body of an answer waits
        # 40 ms until the client has acknowledged the headers.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=MAX_CONCURRENT,
            timeout_graceful_shutdown=_CLOSE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(
            target=self._server.run, args=([self._socket],), name="http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Finish the requests in hand and stop serving."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_CLOSE_S)
        if self._socket is not None:
            self._socket.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
