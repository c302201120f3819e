"""The client of the embed endpoint against a server that answers as a test says."""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from embedpipe import errors
from embedpipe.adapters.embed_endpoint import HttpEmbedder
from embedpipe.adapters.memory.models import fake_model
from embedpipe.ports.synchronous import Embedded, HeldModel, WarmUp

FINGERPRINT = "a" * 64
MODEL = fake_model("small", fingerprint=FINGERPRINT, dimensions=3)


class Server(HTTPServer):
    status = 200
    body: bytes = b""
    headers: dict[str, str]
    asked: list[Any]
    tokens: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answers(self, status: int, value: Any, **headers: str) -> None:
        self.status, self.body = status, json.dumps(value).encode()
        self.headers = {name.replace("_", "-"): text for name, text in headers.items()}

    def refuses(self, status: int, code: str, **described: Any) -> None:
        self.answers(status, {"error": {"code": code, "message": "so it is"} | described})


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.asked.append(json.loads(self.rfile.read(length)))
        self.do_GET()

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers["Authorization"])
        self.send_response(self.server.status)
        if self.server.status == 307:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        for name, text in self.server.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked, server.tokens, server.headers = [], [], {}
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def an_answer(*rows: list[float], **overrides: Any) -> dict[str, Any]:
    packed = b"".join(array("f", row).tobytes() for row in rows)
    return {
        "model_id": "small",
        "fingerprint": FINGERPRINT,
        "provider": "onnx",
        "dimensions": 3,
        "tokens": [5] * len(rows),
        "vectors": base64.b64encode(packed).decode(),
    } | overrides


def a_query(server: Server) -> list[float]:
    return HttpEmbedder(server.url).embed_query("some text", FINGERPRINT)


# ---------------------------------------------------------------------------------------- queries


def test_a_query_is_asked_for_as_one(server: Server) -> None:
    server.answers(200, an_answer([0.5, -1, 2]))

    vector = HttpEmbedder(f"{server.url}/", token="secret").embed_query(
        "some text", FINGERPRINT, model_id="small", tenant_id="acme"
    )

    assert vector == [0.5, -1.0, 2.0]
    assert server.asked == [
        {
            "model_id": "small",
            "fingerprint": FINGERPRINT,
            "inputs": ["some text"],
            "kind": "query",
            "tenant_id": "acme",
            "timeout_s": 10.0,
        }
    ]
    assert server.tokens == ["Bearer secret"]


@pytest.mark.parametrize("status", [307, 400, 401, 404, 409, 413, 422, 500, 503])
def test_any_other_status_is_unavailable_and_asked_once(server: Server, status: int) -> None:
    server.answers(status, an_answer([0.5, -1, 2]))

    with pytest.raises(errors.EmbedderUnavailableError, match=str(status)) as raised:
        a_query(server)

    assert raised.value.retry_after_s == 30
    assert len(server.asked) == 1


CHANGES: list[dict[str, Any]] = [
    {"fingerprint": "b" * 64},
    {"dimensions": 2},
    {"dimensions": 0},
    {"dimensions": None},
    {"tokens": []},
    {"tokens": [None]},
    {"vectors": ""},
    {"vectors": "AAAA"},
    {"vectors": "not base64!"},
    {"vectors": 5},
]
BAD_ANSWERS = [
    b"",
    b"no json",
    b"\xff",
    b"[]",
    b"{}",
    b"null",
    *(json.dumps(an_answer([1, 0, 0], **change)).encode() for change in CHANGES),
    json.dumps(an_answer([1.0, float("nan"), 0.0])).encode(),
    json.dumps(an_answer([1.0, float("inf"), 0.0])).encode(),
    json.dumps(an_answer([1, 0, 0], [0, 1, 0])).encode(),
    b" " * 1_048_577,
]


@pytest.mark.parametrize("body", BAD_ANSWERS, ids=lambda body: str(body[:60]))
def test_what_is_no_vector_is_unavailable(server: Server, body: bytes) -> None:
    server.body = body

    with pytest.raises(errors.EmbedderUnavailableError):
        a_query(server)


def test_a_query_that_is_too_long_for_its_provider_is_the_callers(server: Server) -> None:
    server.refuses(400, "INPUT_TOO_LONG", inputs=[{"index": 0, "tokens": 9000}])

    with pytest.raises(errors.InvalidInputError) as raised:
        a_query(server)

    assert (raised.value.code, raised.value.field) == ("TEXT_TOO_LONG", "query")


def test_nobody_there_is_unavailable(server: Server) -> None:
    url = server.url
    server.socket.close()

    with pytest.raises(errors.EmbedderUnavailableError):
        HttpEmbedder(url, timeout_s=1).check()


# ----------------------------------------------------------------------------------------- inputs


def embed(server: Server, *inputs: Any, **options: Any) -> Embedded:
    return HttpEmbedder(server.url, work_timeout_s=7).embed(
        MODEL, inputs or ["one", "two"], **options
    )


def test_inputs_are_sent_as_they_are_and_vectors_come_back_in_order(server: Server) -> None:
    server.answers(200, an_answer([1, 0, 0], [0, 1, 0], tokens=[3, 4]))

    done = embed(server, "öne", "two", tenant_id="acme")

    assert done == Embedded(
        model_id="small",
        fingerprint=FINGERPRINT,
        provider="onnx",
        dimensions=3,
        tokens=[3, 4],
        vectors=array("f", [1, 0, 0, 0, 1, 0]).tobytes(),
    )
    assert server.asked == [
        {
            "model_id": "small",
            "fingerprint": FINGERPRINT,
            "inputs": ["öne", "two"],
            "kind": "document",
            "dimensions": None,
            "tenant_id": "acme",
            "timeout_s": 7,
        }
    ]


def test_nobody_waits_longer_than_the_adapters_own_limit(server: Server) -> None:
    server.answers(200, an_answer([1, 0, 0]))

    embed(server, "one", timeout_s=2.5)
    embed(server, "one", timeout_s=60)

    assert [asked["timeout_s"] for asked in server.asked] == [2.5, 7]


def test_vectors_of_other_dimensions_than_asked_for_are_refused(server: Server) -> None:
    server.answers(200, an_answer([1, 0, 0]))

    with pytest.raises(errors.EmbedderUnavailableError):
        embed(server, "one", dimensions=2)


def test_a_large_answer_is_read(server: Server) -> None:
    wide = replace(MODEL, dimensions=4096)
    row = [0.5] * 4096
    server.answers(200, an_answer(*[row] * 100, dimensions=4096))

    done = HttpEmbedder(server.url).embed(wide, ["x"] * 100)

    assert len(server.body) > 1_048_576
    assert len(done.vectors) == 100 * 4096 * 4


@pytest.mark.parametrize("code", ["INPUT_TOO_LONG", "INPUT_REJECTED"])
def test_inputs_that_are_refused_are_named(server: Server, code: str) -> None:
    server.refuses(400, code, inputs=[{"index": 1, "tokens": 300}, {"index": 4, "more": 1}])

    with pytest.raises(errors.RejectedInputsError) as raised:
        embed(server)

    assert raised.value.code == code
    assert raised.value.inputs == [{"index": 1, "tokens": 300}, {"index": 4}]


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("DIMENSIONS_NOT_OFFERED", "dimensions"),
        ("UNKNOWN_TOKEN", "input"),
        ("TOKENS_NOT_TAKEN", "input"),
    ],
)
def test_what_the_model_does_not_take_is_the_callers(server: Server, code: str, field: str) -> None:
    server.refuses(400, code)

    with pytest.raises(errors.InvalidInputError, match="so it is") as raised:
        embed(server)

    assert (raised.value.code, raised.value.field) == (code, field)


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        ("CIRCUIT_OPEN", errors.CircuitOpenError),
        ("PROVIDER_UNAVAILABLE", errors.ProviderUnavailableError),
        ("PROVIDER_REFUSED", errors.ProviderRefusedError),
        ("MODEL_UNAVAILABLE", errors.ModelUnavailableError),
        ("EMBEDDER_UNAVAILABLE", errors.EmbedderUnavailableError),
        ("MODEL_LOADING", errors.EmbedderUnavailableError),
        ("OVERLOADED", errors.EmbedderUnavailableError),
        ("NEW_AND_UNKNOWN", errors.EmbedderUnavailableError),
    ],
)
def test_an_outage_keeps_its_name_and_its_time(
    server: Server, code: str, cls: type[errors.TransientError]
) -> None:
    error = {"error": {"code": code, "message": "m"}}
    server.answers(503, error, Retry_After="12")

    with pytest.raises(cls) as raised:
        embed(server)

    assert raised.value.retry_after_s == 12
    assert raised.value.code == (code if code != "NEW_AND_UNKNOWN" else "EMBEDDER_UNAVAILABLE")


@pytest.mark.parametrize("retry_after", ["", "soon", "-5", "1e9", "9" * 40])
def test_a_time_that_is_none_is_ours(server: Server, retry_after: str) -> None:
    server.answers(503, {}, Retry_After=retry_after)

    with pytest.raises(errors.EmbedderUnavailableError) as raised:
        embed(server)

    assert raised.value.retry_after_s == 30


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500])
def test_what_we_did_not_ask_for_rightly_is_no_fault_of_the_caller(
    server: Server, status: int
) -> None:
    server.refuses(status, "MODEL_NOT_FOUND" if status == 404 else "INVALID_INPUT")

    with pytest.raises(errors.EmbedderUnavailableError):
        embed(server)


# ----------------------------------------------------------------------------------------- models


def test_models_that_are_held_are_listed(server: Server) -> None:
    loaded = {
        "model_id": "small",
        "fingerprint": FINGERPRINT,
        "precision": "fp16",
        "device": "cuda",
        "memory_bytes": 7,
        "idle_s": 0.5,
        "tuning": {"streams": 2},
    }
    server.answers(
        200,
        {"models": [{"model_id": "small", "loaded": loaded}, {"model_id": "far", "loaded": None}]},
    )

    assert HttpEmbedder(server.url).models() == [HeldModel("small", "fp16", "cuda", 7, 0.5)]


@pytest.mark.parametrize("told", [{}, [], {"models": [{}]}, {"models": [{"loaded": {"a": 1}}]}])
def test_a_list_of_another_form_is_unavailable(server: Server, told: Any) -> None:
    server.answers(200, told)

    with pytest.raises(errors.EmbedderUnavailableError):
        HttpEmbedder(server.url).models()


@pytest.mark.parametrize("status", [200, 202])
def test_a_warm_up_says_how_far_it_is(server: Server, status: int) -> None:
    told = {"model_id": "small", "provider": "onnx", "state": "loaded", "milliseconds": 8.5}
    server.answers(status, told | {"fingerprint": FINGERPRINT})

    done = HttpEmbedder(server.url, work_timeout_s=7).warm_up("onnx", "small")

    assert done == WarmUp("small", "onnx", "loaded", 8.5)
    assert server.asked == [{"provider": "onnx", "model_id": "small", "timeout_s": 7}]


def test_a_model_that_the_worker_does_not_have_is_not_found(server: Server) -> None:
    server.refuses(404, "MODEL_NOT_FOUND")

    with pytest.raises(errors.NotFoundError):
        HttpEmbedder(server.url).warm_up("onnx", "small")
