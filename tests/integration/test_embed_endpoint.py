"""The client of the embed endpoint against a server that answers as a test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from embedpipe.adapters.embed_endpoint import HttpQueryEmbedder
from embedpipe.errors import EmbedderUnavailableError

FINGERPRINT = "a" * 64


class Server(HTTPServer):
    status = 200
    body: bytes = b""
    asked: list[dict[str, Any]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.asked.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        if self.server.status == 307:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_query_is_asked_for_as_one(server: Server) -> None:
    server.body = b'{"vectors": [[0.5, -1, 2]]}'

    vector = HttpQueryEmbedder(f"{server.url}/").embed_query("some text", FINGERPRINT)

    assert vector == [0.5, -1.0, 2.0]
    assert server.asked == [{"texts": ["some text"], "kind": "query", "fingerprint": FINGERPRINT}]


@pytest.mark.parametrize("status", [307, 400, 401, 409, 422, 500, 503])
def test_any_other_status_is_unavailable_and_asked_once(server: Server, status: int) -> None:
    server.status = status
    server.body = b'{"vectors": [[1.0]]}'

    with pytest.raises(EmbedderUnavailableError, match=str(status)) as raised:
        HttpQueryEmbedder(server.url).embed_query("some text", FINGERPRINT)

    assert raised.value.retry_after_s == 30
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"\xff",
        b"[]",
        b"{}",
        b'{"vectors": []}',
        b'{"vectors": [[]]}',
        b'{"vectors": [["a"]]}',
        b'{"vectors": [[NaN]]}',
        b'{"vectors": [null]}',
        b'{"vectors": [[1], [2]]}',
        b" " * 1_048_577,
    ],
)
def test_what_is_no_vector_is_unavailable(server: Server, body: bytes) -> None:
    server.body = body

    with pytest.raises(EmbedderUnavailableError):
        HttpQueryEmbedder(server.url).embed_query("some text", FINGERPRINT)


def test_nobody_there_is_unavailable(server: Server) -> None:
    url = server.url
    server.socket.close()

    with pytest.raises(EmbedderUnavailableError):
        HttpQueryEmbedder(url, timeout_s=1).check()
