"""The `openai` package, as it is, against our API over HTTP."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import openai
import pytest
from embedpipe.adapters.embed_endpoint import HttpEmbedder
from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.adapters.memory import FakeEmbedder, FakeEmbedders, FakeTokenizer
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.errors import EmbedderUnavailableError

from tests.real_model import MODELS_DIR, the_real_model
from tests.served_api import served
from tests.unit.api.client import ADMIN_KEY, Client
from tests.unit.worker.bench import Bench, some_settings

REFERENCE = Path(__file__).resolve().parents[1] / "data" / "minilm_reference.json"
LEAST_COSINE = 0.9999


@contextmanager
def a_client(api: Client, *, key: str = ADMIN_KEY, path: str = "/v1") -> Iterator[openai.OpenAI]:
    with (
        served(api.api) as url,
        openai.OpenAI(base_url=url + path, api_key=key, max_retries=0, timeout=30) as client,
    ):
        yield client


def expected(*texts: str) -> Any:
    return FakeEmbedder().embed(FakeTokenizer().encode(texts))


def vectors_of(answer: Any) -> Any:
    return np.array([one.embedding for one in answer.data], dtype=np.float32)


@pytest.mark.parametrize("path", ["/v1", "/api/v1"])
def test_a_text_becomes_a_vector_under_both_paths(path: str) -> None:
    with a_client(Client(), path=path) as client:
        answer = client.embeddings.create(input="one two", model="fake")

    assert np.array_equal(vectors_of(answer), expected("one two"))
    assert (answer.object, answer.model) == ("list", "fake")
    assert (answer.data[0].object, answer.data[0].index) == ("embedding", 0)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (4, 4)


@pytest.mark.parametrize("encoding_format", [openai.NOT_GIVEN, "float", "base64"])
def test_every_encoding_gives_the_same_numbers(encoding_format: Any) -> None:
    texts = ["one", "two words", "three more words"]

    with a_client(Client()) as client:
        answer = client.embeddings.create(
            input=texts, model="fake", encoding_format=encoding_format
        )

    rows: list[Any] = [one.embedding for one in answer.data]
    if encoding_format == "base64":
        # Who asks for it gets it as it came.
        rows = [np.frombuffer(base64.b64decode(row), dtype="<f4").tolist() for row in rows]
    assert np.array_equal(np.array(rows, dtype=np.float32), expected(*texts))
    assert [one.index for one in answer.data] == [0, 1, 2]


def test_token_arrays_are_taken_alone_and_together() -> None:
    one, two = (FakeTokenizer().offsets(text).ids for text in ("one", "two words"))

    with a_client(Client()) as client:
        alone = client.embeddings.create(input=two, model="fake")
        together = client.embeddings.create(input=[one, two], model="fake")

    assert np.array_equal(vectors_of(alone), expected("two words"))
    assert np.array_equal(vectors_of(together), expected("one", "two words"))


def test_dimensions_and_user_are_taken() -> None:
    with a_client(Client()) as client:
        answer = client.embeddings.create(
            input="one two three four five six seven eight",
            model="far",
            dimensions=16,
            user="somebody",
            encoding_format="float",
        )

    assert len(answer.data[0].embedding) == 16
    assert np.linalg.norm(answer.data[0].embedding) == pytest.approx(1, abs=1e-6)


def test_the_most_inputs_there_may_be_are_taken() -> None:
    with a_client(Client()) as client:
        answer = client.embeddings.create(input=["x"] * 2048, model="fake")

    assert len(answer.data) == 2048


def test_headers_say_who_computed() -> None:
    with a_client(Client()) as client:
        raw = client.embeddings.with_raw_response.create(input="one", model="far")

    assert raw.headers["X-Embeddings-Provider"] == "openai"
    assert raw.headers["X-Embeddings-Model"] == "far"
    assert len(raw.headers["X-Trace-Id"]) == 32
    assert len(raw.parse().data) == 1


def test_a_tenants_key_is_enough() -> None:
    api = Client()

    with a_client(api, key=api.database.create_key("other", role="user")) as client:
        client.embeddings.create(input="one", model="fake")

    assert api.worker.asked == [("other", "fake", 1)]


# ----------------------------------------------------------------------------------------- errors


def body_of(error: openai.APIError) -> Any:
    """What the server said, as the client keeps it."""
    return error.body


def failure(api: Client, key: str = ADMIN_KEY, **asked: Any) -> Any:
    with a_client(api, key=key) as client, pytest.raises(openai.APIStatusError) as raised:
        client.embeddings.create(**({"input": "one", "model": "fake"} | asked))
    return raised.value


@pytest.mark.parametrize(
    ("asked", "cls", "code", "param"),
    [
        ({"model": "gpt"}, openai.NotFoundError, "model_not_found", "model"),
        ({"input": ""}, openai.BadRequestError, "empty_input", "input.0"),
        ({"input": []}, openai.BadRequestError, "empty_input", "input"),
        ({"input": ["x"] * 2049}, openai.BadRequestError, "too_many_inputs", "input"),
        ({"dimensions": 7}, openai.BadRequestError, "dimensions_not_offered", "dimensions"),
        ({"encoding_format": "x"}, openai.BadRequestError, "invalid_choice", "encoding_format"),
        ({"extra_body": {"x": 1}}, openai.BadRequestError, "unknown_field", "x"),
        ({"key": "wrong"}, openai.AuthenticationError, "unauthenticated", None),
    ],
    ids=str,
)
def test_an_error_is_shown_by_the_client(
    asked: dict[str, Any], cls: type[openai.APIStatusError], code: str, param: str | None
) -> None:
    error = failure(Client(), **asked)

    assert type(error) is cls
    assert (error.code, error.param) == (code, param)
    assert str(error.type).endswith("_error")
    assert body_of(error)["message"] in str(error)


def test_inputs_that_are_too_long_are_named() -> None:
    error = failure(Client(), input=["fine", "word " * 300])

    assert isinstance(error, openai.BadRequestError)
    assert error.code == "input_too_long"
    assert body_of(error)["inputs"] == [{"index": 1, "tokens": 302}]


def test_an_outage_is_one_for_the_client_with_the_seconds_to_wait() -> None:
    api = Client()
    api.worker.error = EmbedderUnavailableError(retry_after_s=30)

    error = failure(api)

    assert isinstance(error, openai.InternalServerError)
    assert (error.status_code, error.code) == (503, "embedder_unavailable")
    assert error.response.headers["Retry-After"] == "30"


def test_the_clients_own_retries_wait_as_long_as_they_are_told() -> None:
    api = Client()
    api.worker.error = EmbedderUnavailableError(retry_after_s=1)

    def back_in_a_moment() -> None:
        time.sleep(0.3)
        api.worker.error = None

    recovery = Thread(target=back_in_a_moment)
    with a_client(api) as client:
        recovery.start()
        answer = client.with_options(max_retries=2).embeddings.create(input="one", model="fake")
    recovery.join()

    assert np.array_equal(vectors_of(answer), expected("one"))


# -------------------------------------------------------------------------------- the real model


@contextmanager
def a_worker() -> Iterator[HttpEmbedder]:
    """A worker with the real model; give the client of its endpoint."""
    model = the_real_model()
    token = "a-token-of-some-length"
    bench = Bench.with_pauses(
        settings=some_settings(DEFAULT_MODEL_ID=model.info.model_id, QUERY_EMBEDDER_TOKEN=token),
        overrides={
            "embedders": FakeEmbedders(OnnxEmbedder(model, provider="cpu")),
            "models": ModelsDirectory(MODELS_DIR),
        },
    )
    bench.worker.prepare()
    thread = Thread(target=bench.worker.run)
    thread.start()
    try:
        yield HttpEmbedder(
            f"http://127.0.0.1:{bench.worker.endpoint.port}", token=token, work_timeout_s=60
        )
    finally:
        bench.worker.stop()
        thread.join(30)


def test_the_vectors_are_those_of_sentence_transformers() -> None:
    rows = json.loads(REFERENCE.read_text(encoding="utf-8"))["rows"]
    tokenizer = ModelsDirectory(MODELS_DIR).tokenizer(the_real_model().info.model_id)
    fitting = [row for row in rows if 2 < len(tokenizer.encode([row["text"]])[0]) <= 256]
    api = Client()
    model_id = tokenizer.model.model_id

    with a_worker() as embedder:
        api.services = type(api.services)(
            **{
                **api.services.__dict__,
                "models": ModelsDirectory(MODELS_DIR),
                "embedder": embedder,
            }
        )
        with a_client(api) as client:
            answer = client.embeddings.create(
                input=[row["text"] for row in fitting], model=model_id
            )
            by_ids = client.embeddings.create(
                input=[tokenizer.offsets(row["text"]).ids for row in fitting[:5]], model=model_id
            )
            with pytest.raises(openai.BadRequestError) as raised:
                client.embeddings.create(input=["fine", "word " * 300], model=model_id)

    ours, theirs = vectors_of(answer), np.array([row["vector"] for row in fitting])
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
    assert len(fitting) > 20
    assert cosines.min() >= LEAST_COSINE
    assert np.allclose((vectors_of(by_ids) * theirs[:5]).sum(axis=1), cosines[:5], atol=1e-4)
    assert body_of(raised.value)["inputs"] == [{"index": 1, "tokens": 302}]
