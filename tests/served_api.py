"""The API over HTTP on loopback, as the local cloud serves it, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from embedpipe.api.resolver import ApiResolver
from embedpipe.local.gateway import Gateway
from embedpipe.local.server import Server, listen


class Function:
    """One execution environment: one request at a time."""

    max_concurrency = 1

    def __init__(self, api: ApiResolver) -> None:
        self._api = api

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        return self._api.resolve(event, None)


@contextmanager
def served(api: ApiResolver) -> Iterator[str]:
    """Serve an API; give its URL."""
    listening = listen(0)
    server = Server(Gateway(Function(api)), listening)
    server.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.stop()
        listening.close()
