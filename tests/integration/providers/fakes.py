"""Providers over HTTP on the loopback interface, with answers in their own forms, and faults."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from embedpipe.adapters.embedders.remote.fallback import LimitedEmbedder
from embedpipe.adapters.embedders.remote.keys import ProviderKeys
from embedpipe.adapters.embedders.remote.pool import RemotePool
from embedpipe.models.catalogue_entries import RemoteEntry
from pydantic import SecretStr

DIMENSIONS = 8
KEY = "sk-integration-0123456789"

Json = Any
Vector = list[float]


def vector_of(text: str, dimensions: int = DIMENSIONS) -> Vector:
    """Give a vector that only this text has, not of unit length."""
    digest = hashlib.sha256(text.encode()).digest()
    return [byte / 50.0 - 2.0 for byte in digest[:dimensions]]


def base64_of(vector: Vector) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


@dataclass(frozen=True)
class Form:
    """One provider's form of request and answer."""

    name: str
    provider: str
    path: str
    texts: Callable[[Json], list[str]]
    answer: Callable[[list[Vector]], Json]
    vectors_at: Callable[[Json], list[Any]]
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_single(self) -> bool:
        """Whether a request holds one text only."""
        return self.name == "old_ollama"


def _items(encode: Callable[[Vector], Any]) -> Callable[[list[Vector]], Json]:
    def answer(vectors: list[Vector]) -> Json:
        items = [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(vectors)
        ]
        return {"object": "list", "data": items, "model": "m", "usage": {"total_tokens": 5}}

    return answer


def _as_it_is(vector: Vector) -> Vector:
    return vector


FORMS = {
    form.name: form
    for form in (
        Form(
            "openai",
            "openai",
            "/v1/embeddings",
            lambda body: body["input"],
            _items(base64_of),
            lambda answer: answer["data"],
        ),
        Form(
            "mistral",
            "mistral",
            "/v1/embeddings",
            lambda body: body["input"],
            _items(_as_it_is),
            lambda answer: answer["data"],
        ),
        Form(
            "voyage",
            "voyage",
            "/v1/embeddings",
            lambda body: body["input"],
            _items(base64_of),
            lambda answer: answer["data"],
        ),
        Form(
            "cohere",
            "cohere",
            "/v2/embed",
            lambda body: body["texts"],
            lambda vectors: {
                "id": "1",
                "embeddings": {"float": vectors},
                "texts": [],
                "meta": {"api_version": {"version": "2"}},
                "response_type": "embeddings_by_type",
            },
            lambda answer: answer["embeddings"]["float"],
        ),
        Form(
            "google",
            "google",
            "/v1beta",
            lambda body: [one["content"]["parts"][0]["text"] for one in body["requests"]],
            lambda vectors: {"embeddings": [{"values": vector} for vector in vectors]},
            lambda answer: answer["embeddings"],
        ),
        Form(
            "compatible",
            "local_api",
            "/v1/embeddings",
            lambda body: body["input"],
            _items(_as_it_is),
            lambda answer: answer["data"],
        ),
        Form(
            "ollama",
            "local_api",
            "/api/embed",
            lambda body: body["input"],
            lambda vectors: {"model": "m", "embeddings": vectors, "total_duration": 1},
            lambda answer: answer["embeddings"],
        ),
        Form(
            "old_ollama",
            "local_api",
            "/api/embeddings",
            lambda body: [body["prompt"]],
            lambda vectors: {"embedding": vectors[0]},
            lambda answer: [answer],
        ),
    )
}


@dataclass(frozen=True)
class Asked:
    """One request as it arrived. Names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: Json


#: Writes an answer of its own; what was asked for is given.
Fault = Callable[["Handler", Json], None]


class FakeProvider(ThreadingHTTPServer):
    """Answers in one form. `faults` are used up first, one a request; `change` edits answers."""

    daemon_threads = True
    #: A refused connection is a fault of its own; a full queue must not look like one.
    request_queue_size = 64

    def __init__(self, form: Form) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.form = form
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.change: Callable[[Json], Json] = _as_it_is
        self.asked: list[Asked] = []
        self.stopping = Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return self.address + self.form.path

    def good_answer(self, body: Json) -> Json:
        vectors = [vector_of(text) for text in self.form.texts(body)]
        return self.change(self.form.answer(vectors))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: FakeProvider
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked(self.path, headers, body))
        fault = self.server.faults.pop(0) if self.server.faults else self.server.always
        if fault is None:
            self.answer(200, self.server.good_answer(body))
        else:
            fault(self, body)

    def answer(
        self, status: int, body: Json | bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


# ---------------------------------------------------------------------------------------- faults


def status(code: int, body: Json | bytes = b"{}", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.answer(code, body, named)


def half_a_body(handler: Handler, body: Json) -> None:
    data = json.dumps(handler.server.good_answer(body)).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def half_a_chunk(handler: Handler, body: Json) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'400\r\n{"data": [')
    handler.close_connection = True


def no_answer(handler: Handler, body: Json) -> None:
    handler.close_connection = True
    handler.connection.close()


def silence(handler: Handler, body: Json) -> None:
    handler.server.stopping.wait(10)
    handler.close_connection = True


def a_drip(handler: Handler, body: Json) -> None:
    """Send a byte now and then: no wait for a part is long, the whole takes for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.stopping.wait(0.02):
        handler.wfile.write(b" ")


def a_flood(handler: Handler, body: Json) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    piece = b"[" + b"0," * 32_767 + b"0"
    for _ in range(1000):
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")


# ----------------------------------------------------------------------------------------- set-up


@contextmanager
def serving(form: Form) -> Iterator[FakeProvider]:
    with FakeProvider(form) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            server.shutdown()
            thread.join()


def an_entry(server: FakeProvider, **changes: Any) -> RemoteEntry:
    """Give an entry for a fake, reached over the loopback interface."""
    values: dict[str, Any] = {
        "provider": server.form.provider,
        "model_name_or_path": "some-model",
        "dimensions": DIMENSIONS,
        "max_tokens": 512,
        "api_url": server.url,
        "allow_private_address": True,
        "timeout_s": 5.0,
        **server.form.fields,
        **changes,
    }
    return RemoteEntry.model_validate(values)


def some_keys(**changes: Any) -> ProviderKeys:
    given = {name: SecretStr(KEY) for name in ("openai", "mistral", "voyage", "cohere", "google")}
    values: dict[str, Any] = {"read": lambda arn, fresh: "", **changes}
    return ProviderKeys(values.pop("given", given), **values)


def an_embedder(
    server: FakeProvider, keys: ProviderKeys | None = None, **changes: Any
) -> LimitedEmbedder:
    entry = an_entry(server, **changes)
    return RemotePool({"remote": entry}, keys or some_keys()).get("remote")
