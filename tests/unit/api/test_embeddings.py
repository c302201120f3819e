"""Vectors at once, in the form of OpenAI's API."""

from __future__ import annotations

import base64
import json
from array import array
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeTokenizer
from embedpipe.api.vector_json import MAX_ANSWER_BYTES, check_answer, listing, most_inputs
from embedpipe.errors import (
    CircuitOpenError,
    EmbedderUnavailableError,
    ModelFilesError,
    RejectedInputsError,
    TooLargeError,
)

from tests.unit.api.client import ADMIN_KEY, Client
from tests.unit.api.test_bad_input import RAW

EMBEDDINGS = "/embeddings"
BATCH = "/embeddings/batch"


def embed(client: Client, path: str = EMBEDDINGS, **fields: Any) -> Any:
    inputs = {"input": "some text"} if path == EMBEDDINGS else {"inputs": ["some text"]}
    return client.send("POST", path, {"model": "fake"} | inputs | fields)


def vectors_of(*texts: str) -> Any:
    return FakeEmbedder().embed(FakeTokenizer().encode(texts))


def told(answer: Any) -> Any:
    return np.array([one["embedding"] for one in answer.json["data"]], dtype=np.float32)


def assert_refused(answer: Any, status: int, code: str, param: str | None = None) -> None:
    """Say the same twice: as a problem, and as OpenAI's clients read it."""
    assert (answer.status, answer.json["status"], answer.json["code"]) == (status, status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    error = answer.json["error"]
    assert (error["code"], error.get("param")) == (code.lower(), param)
    assert error["message"] == answer.json["detail"]
    assert error["type"].endswith("_error")


# ---------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
def test_a_text_becomes_a_vector(base: str) -> None:
    client = Client()

    answer = client.send("POST", EMBEDDINGS, {"input": "one two", "model": "fake"}, base=base)

    assert answer.status == 200
    assert np.array_equal(told(answer), vectors_of("one two"))
    body = answer.json
    del body["data"][0]["embedding"]
    assert body == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0}],
        "model": "fake",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    assert answer.headers["X-Embeddings-Provider"] == "onnx"
    assert answer.headers["X-Embeddings-Model"] == "fake"
    assert client.worker.asked == [("default", "fake", 1)]


@pytest.mark.parametrize("path", [EMBEDDINGS, BATCH])
def test_vectors_have_the_order_of_the_inputs(path: str) -> None:
    texts = ["one", "two words", "one", "a"]
    name = "input" if path == EMBEDDINGS else "inputs"

    answer = embed(Client(), path, **{name: texts})

    assert np.array_equal(told(answer), vectors_of(*texts))
    assert [one["index"] for one in answer.json["data"]] == [0, 1, 2, 3]
    assert answer.json["usage"]["total_tokens"] == 3 + 4 + 3 + 3


def test_token_arrays_are_taken_alone_and_together() -> None:
    one, two = FakeTokenizer().offsets("one").ids, FakeTokenizer().offsets("two words").ids

    alone = embed(Client(), input=two)
    together = embed(Client(), input=[one, two])

    assert np.array_equal(told(alone), vectors_of("two words"))
    assert np.array_equal(told(together), vectors_of("one", "two words"))


def test_base64_holds_the_same_numbers() -> None:
    answer = embed(Client(), input=["one", "two"], encoding_format="base64")

    numbers = [base64.b64decode(one["embedding"]) for one in answer.json["data"]]
    assert b"".join(numbers) == vectors_of("one", "two").astype("<f4").tobytes()


def test_no_number_loses_anything_as_text() -> None:
    random = np.random.default_rng(7)
    bits = random.integers(0, 2**32, 4096, dtype=np.uint32).view(np.float32)
    numbers = bits[np.isfinite(bits)]

    told = listing([(0, array("f", numbers.tobytes()))], "float")

    assert np.array_equal(np.array(json.loads(told)["embedding"], dtype=np.float32), numbers)
    assert max(map(len, told.partition("[")[2].strip("]}").split(","))) <= 15


def test_a_vector_may_be_cut_to_what_its_model_offers() -> None:
    client = Client()

    answer = embed(client, model="far", dimensions=16)

    assert told(answer).shape == (1, 16)
    assert np.linalg.norm(told(answer)) == pytest.approx(1.0, abs=1e-6)
    assert answer.headers["X-Embeddings-Provider"] == "openai"
    assert told(embed(client, dimensions=32)).shape == (1, 32)


def test_the_user_is_taken_and_not_used() -> None:
    assert embed(Client(), user="somebody").status == 200


def test_as_many_inputs_as_may_be_are_taken() -> None:
    answer = embed(Client(), input=["x"] * 2048, encoding_format="base64")

    assert (answer.status, len(answer.json["data"])) == (200, 2048)


def test_a_tenants_key_says_whose_inputs_they_are() -> None:
    client = Client()
    key = client.database.create_key("other", role="user")

    answer = client.send(
        "POST",
        EMBEDDINGS,
        {"input": "x", "model": "fake"},
        key=None,
        base="/v1",
        Authorization=f"Bearer {key}",
    )

    assert (answer.status, client.worker.asked) == (200, [("other", "fake", 1)])


# ------------------------------------------------------------------------------------ bad requests

BAD: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "empty text": ({"input": ""}, 400, "EMPTY_INPUT", "input.0"),
    "empty list": ({"input": []}, 400, "EMPTY_INPUT", "input"),
    "empty text of many": ({"input": ["x", ""]}, 400, "EMPTY_INPUT", "input.1"),
    "empty array": ({"input": [[1], []]}, 400, "EMPTY_INPUT", "input.1"),
    "null": ({"input": None}, 400, "WRONG_TYPE", "input"),
    "number": ({"input": 5}, 400, "WRONG_TYPE", "input"),
    "object": ({"input": {"text": "x"}}, 400, "WRONG_TYPE", "input"),
    "list of null": ({"input": [None]}, 400, "WRONG_TYPE", "input.0"),
    "texts and tokens": ({"input": ["x", 1]}, 400, "WRONG_TYPE", "input.1"),
    "tokens and texts": ({"input": [1, "x"]}, 400, "WRONG_TYPE", "input.0"),
    "arrays and texts": ({"input": [[1], "x"]}, 400, "WRONG_TYPE", "input.1"),
    "true": ({"input": [True]}, 400, "WRONG_TYPE", "input.0"),
    "half a token": ({"input": [[1.5]]}, 400, "WRONG_TYPE", "input.0"),
    "negative token": ({"input": [-1]}, 400, "OUT_OF_RANGE", "input.0"),
    "huge token": ({"input": [[1], [2**31]]}, 400, "OUT_OF_RANGE", "input.1"),
    "huge integer": ({"input": [2**63]}, 400, "OUT_OF_RANGE", "input"),
    "too many": ({"input": ["x"] * 2049}, 400, "TOO_MANY_INPUTS", "input"),
    "too many arrays": ({"input": [[1]] * 2049}, 400, "TOO_MANY_INPUTS", "input"),
    "NUL": ({"input": ["a\0b"]}, 400, "INVALID_TEXT", "input"),
    "surrogate": ({"input": "\ud800"}, 400, "INVALID_TEXT", "input"),
    "unknown model": ({"model": "gpt"}, 404, "MODEL_NOT_FOUND", "model"),
    "path as model": ({"model": "../fake"}, 404, "MODEL_NOT_FOUND", "model"),
    "empty model": ({"model": ""}, 400, "TOO_SHORT", "model"),
    "number as model": ({"model": 5}, 400, "WRONG_TYPE", "model"),
    "format": ({"encoding_format": "hex"}, 400, "INVALID_CHOICE", "encoding_format"),
    "null format": ({"encoding_format": None}, 400, "INVALID_CHOICE", "encoding_format"),
    "no dimensions": ({"dimensions": 0}, 400, "OUT_OF_RANGE", "dimensions"),
    "dimensions as text": ({"dimensions": "8"}, 400, "WRONG_TYPE", "dimensions"),
    "other dimensions": ({"dimensions": 16}, 400, "DIMENSIONS_NOT_OFFERED", "dimensions"),
    "more dimensions": ({"dimensions": 33}, 400, "DIMENSIONS_NOT_OFFERED", "dimensions"),
    "number as user": ({"user": 5}, 400, "WRONG_TYPE", "user"),
    "unknown field": ({"inputs": ["x"]}, 400, "UNKNOWN_FIELD", "inputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_before_the_worker_is_asked(case: str) -> None:
    fields, status, code, param = BAD[case]
    client = Client()
    before = client.everything()

    answer = embed(client, **fields)

    assert_refused(answer, status, code, param)
    assert client.worker.asked == []
    assert client.everything() == before


@pytest.mark.parametrize(
    "case", [case for case in BAD if "input" in BAD[case][0] and case != "too many"]
)
def test_a_bad_batch_is_refused(case: str) -> None:
    fields, status, _, _ = BAD[case]
    given = fields["input"]
    client = Client()
    before = client.everything()

    answer = embed(client, BATCH, inputs=[given] if isinstance(given, str) else given)

    # A batch takes no single input, so a token array is no array of arrays.
    assert answer.status == status
    assert str(answer.json["field"]).startswith("inputs")
    assert client.worker.asked == []
    assert client.everything() == before


@pytest.mark.parametrize("missing", ["input", "model"])
def test_a_missing_field_is_named(missing: str) -> None:
    body = {"input": "x", "model": "fake"}
    del body[missing]

    answer = Client().send("POST", EMBEDDINGS, body)

    assert_refused(answer, 400, "MISSING_FIELD", missing)


@pytest.mark.parametrize("path", [EMBEDDINGS, BATCH])
@pytest.mark.parametrize("case", RAW)
def test_a_body_that_is_no_json_object_is_refused_in_the_same_form(case: str, path: str) -> None:
    raw, status, code = RAW[case]

    answer = Client().send("POST", path, raw=raw)

    assert answer.json["error"]["code"] == code.lower()
    assert (answer.status, answer.json["code"]) == (400 if status == 422 else status, code)


def test_the_limit_of_a_body_is_named() -> None:
    answer = Client().send("POST", EMBEDDINGS, raw='"' + "x" * 6_291_456 + '"')

    assert_refused(answer, 413, "BODY_TOO_LARGE", "body")
    assert "6291456 bytes" in answer.json["detail"]


def test_a_wrong_key_is_refused_in_the_same_form() -> None:
    answer = Client().send("POST", EMBEDDINGS, {"input": "x"}, key="wrong")

    assert_refused(answer, 401, "UNAUTHENTICATED")
    assert answer.json["error"]["type"] == "authentication_error"


def test_inputs_that_are_too_long_are_named() -> None:
    answer = embed(Client(), input=["fine", "word " * 255, "word " * 300])

    assert_refused(answer, 400, "INPUT_TOO_LONG", "input")
    named = [{"index": 1, "tokens": 257}, {"index": 2, "tokens": 302}]
    assert answer.json["inputs"] == named
    assert answer.json["error"]["inputs"] == named


def test_inputs_that_cannot_be_computed_are_named() -> None:
    client = Client()
    client.worker.error = RejectedInputsError(inputs=[{"index": 1}])

    answer = embed(client, BATCH, inputs=["x", "y"])

    assert_refused(answer, 400, "INPUT_REJECTED", "inputs")
    assert answer.json["inputs"] == [{"index": 1}]


# ------------------------------------------------------------------------------------------- size


def test_an_answer_that_would_be_too_large_is_refused_beforehand_with_what_to_do() -> None:
    client = Client()
    most = most_inputs(3072, "float")
    model = client.models.get("far")
    client.models._models["wide"] = type(model)(
        **{**model.__dict__, "model_id": "wide", "dimensions": 3072}
    )

    answer = embed(client, model="wide", input=["x"] * (most + 1))

    assert_refused(answer, 413, "ANSWER_TOO_LARGE", "encoding_format")
    assert f"at most {most} inputs" in answer.json["detail"]
    assert "base64" in answer.json["detail"]
    assert client.worker.asked == []


def test_no_more_inputs_are_advised_than_are_taken() -> None:
    with pytest.raises(TooLargeError, match=r"or up to 2048 with encoding_format base64"):
        check_answer(2048, 384, "float")


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_the_largest_answer_fits_whatever_its_numbers(encoding_format: Any) -> None:
    dimensions = 1024
    vector = array("f", [-1.17549435e-38] * dimensions)
    most = most_inputs(dimensions, encoding_format)

    one = listing([(2047, vector)], encoding_format)

    # The body travels as a JSON string.
    assert len(json.dumps(one)) * most < MAX_ANSWER_BYTES


# ---------------------------------------------------------------------------------------- outages


@pytest.mark.parametrize("path", [EMBEDDINGS, BATCH])
@pytest.mark.parametrize(
    ("error", "code", "retry_after"),
    [
        (EmbedderUnavailableError(retry_after_s=30.0), "EMBEDDER_UNAVAILABLE", "30"),
        (EmbedderUnavailableError(code="OVERLOADED", retry_after_s=1.2), "OVERLOADED", "2"),
        (CircuitOpenError(retry_after_s=7), "CIRCUIT_OPEN", "7"),
    ],
    ids=["down", "busy", "provider"],
)
def test_what_does_not_answer_is_unavailable(
    path: str, error: Exception, code: str, retry_after: str
) -> None:
    client = Client()
    client.worker.error = error

    answer = embed(client, path)

    assert_refused(answer, 503, code)
    assert answer.headers["Retry-After"] == retry_after


def test_without_a_worker_texts_are_unavailable() -> None:
    client = Client()
    client.services = type(client.services)(**{**client.services.__dict__, "embedder": None})

    answer = embed(client)

    assert_refused(answer, 503, "EMBEDDER_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0


def test_damaged_files_are_no_fault_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()

    def damaged(model_id: str) -> Any:
        raise ModelFilesError("the files of a model in /models/x")

    monkeypatch.setattr(client.models, "get", damaged)

    answer = embed(client)

    assert_refused(answer, 503, "MODEL_UNAVAILABLE")
    assert "/models" not in answer.body


def test_inputs_are_never_echoed_or_logged(lines: Any) -> None:
    client = Client()
    canary = "canary-4711"

    answers = [
        embed(client, input=canary),
        embed(client, input=f"{canary} " * 400),
        embed(client, input=[canary, 5]),
        embed(client, model=canary),
        embed(client, encoding_format=canary),
        client.send("POST", EMBEDDINGS, {}, key=None, Authorization=f"Bearer {canary}"),
    ]

    assert [answer.status for answer in answers] == [200, 400, 400, 404, 400, 401]
    assert not [answer.body for answer in answers if canary in answer.body]
    assert canary not in json.dumps(lines())
    assert ADMIN_KEY not in json.dumps(lines())
