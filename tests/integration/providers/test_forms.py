"""What each provider is sent, and what only it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from embedpipe.errors import (
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from embedpipe.ports.models import Kind

from tests.integration.providers import fakes
from tests.integration.providers.fakes import (
    FORMS,
    FakeProvider,
    Json,
    an_embedder,
    serving,
    status,
    vector_of,
)


def sent(form: str, kind: Kind = "document", **changes: Any) -> fakes.Asked:
    """Give the request that an entry leads to."""
    with serving(FORMS[form]) as server:
        length = changes.get("dimensions") or 1536
        server.always = lambda handler, body: handler.answer(
            200, server.form.answer([[1.0] * length for _ in server.form.texts(body)])
        )
        an_embedder(server, **changes).embed(["some text"], kind)
        [asked] = server.asked
        return asked


def test_openai_is_asked_for_base64_and_for_dimensions_that_are_not_the_models_own() -> None:
    asked = sent("openai", model_name_or_path="text-embedding-3-small", dimensions=512)
    own = sent("openai", model_name_or_path="text-embedding-3-small", dimensions=None)

    assert asked.path == "/v1/embeddings"
    assert asked.body == {
        "model": "text-embedding-3-small",
        "input": ["some text"],
        "encoding_format": "base64",
        "dimensions": 512,
    }
    assert "dimensions" not in own.body
    assert asked.headers["user-agent"] == "embedpipe"


def test_mistral_is_asked_for_an_output_dimension() -> None:
    asked = sent("mistral", model_name_or_path="codestral-embed", dimensions=256)

    assert asked.body == {
        "model": "codestral-embed",
        "input": ["some text"],
        "output_dimension": 256,
    }


@pytest.mark.parametrize("kind", ["query", "document"])
def test_voyage_is_told_what_a_text_is_for_and_not_to_cut_it(kind: Kind) -> None:
    asked = sent("voyage", kind, model_name_or_path="voyage-3.5", dimensions=256)

    assert asked.body == {
        "model": "voyage-3.5",
        "input": ["some text"],
        "input_type": kind,
        "truncation": False,
        "output_dtype": "float",
        "encoding_format": "base64",
        "output_dimension": 256,
    }


@pytest.mark.parametrize("kind", ["query", "document"])
def test_cohere_is_told_what_a_text_is_for_and_not_to_cut_it(kind: Kind) -> None:
    asked = sent("cohere", kind, model_name_or_path="embed-v4.0", dimensions=512)

    assert asked.path == "/v2/embed"
    assert asked.body == {
        "model": "embed-v4.0",
        "texts": ["some text"],
        "input_type": f"search_{kind}",
        "embedding_types": ["float"],
        "truncate": "NONE",
        "output_dimension": 512,
    }


@pytest.mark.parametrize("kind", ["query", "document"])
def test_google_is_told_what_each_text_is_for(kind: Kind) -> None:
    asked = sent("google", kind, model_name_or_path="gemini-embedding-001", dimensions=768)

    assert asked.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert asked.body == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": "some text"}]},
                "taskType": f"RETRIEVAL_{kind.upper()}",
                "outputDimensionality": 768,
            }
        ]
    }


def test_a_service_of_ones_own_gets_no_key_unless_one_is_named() -> None:
    asked = sent("compatible", model_name_or_path="text-embedding-3-small", dimensions=512)

    assert "authorization" not in asked.headers
    assert asked.body == {
        "model": "text-embedding-3-small",
        "input": ["some text"],
        "dimensions": 512,
    }


def test_a_compatible_service_can_be_told_what_a_text_is_for() -> None:
    asked = sent("compatible", "query", query_input_type="query", dimensions=4)

    assert asked.body == {"model": "some-model", "input": ["some text"], "input_type": "query"}


def test_ollama_is_told_not_to_cut_and_gets_a_nomic_prefix() -> None:
    asked = sent(
        "ollama", "query", model_name_or_path="nomic-embed-text", dimensions=256, max_tokens=None
    )

    assert asked.body == {
        "model": "nomic-embed-text",
        "input": ["search_query: some text"],
        "truncate": False,
        "dimensions": 256,
    }


def test_the_old_ollama_gets_one_prompt() -> None:
    asked = sent("old_ollama", dimensions=4)

    assert asked.body == {"model": "some-model", "prompt": "some text"}


# ---------------------------------------------------------------------------------------- the order


@pytest.fixture(params=["openai", "mistral", "voyage", "compatible"])
def indexed(request: pytest.FixtureRequest) -> Iterator[FakeProvider]:
    """The forms whose vectors say to which text they belong."""
    with serving(FORMS[request.param]) as server:
        yield server


def test_vectors_in_another_order_are_put_into_that_of_the_texts(indexed: FakeProvider) -> None:
    def reversed_(answer: Json) -> Json:
        answer["data"].reverse()
        return answer

    indexed.change = reversed_

    vectors = an_embedder(indexed).embed(["a", "b", "c"], "document")

    first = np.array(vector_of("a"))
    np.testing.assert_allclose(vectors[0], first / np.linalg.norm(first), atol=1e-6)


@pytest.mark.parametrize("index", [0, 3, -1])
def test_an_index_twice_or_of_no_text_is_rejected(indexed: FakeProvider, index: int) -> None:
    def relabelled(answer: Json) -> Json:
        answer["data"][1]["index"] = index
        return answer

    indexed.change = relabelled

    with pytest.raises(ProviderRejectedError):
        an_embedder(indexed).embed(["a", "b", "c"], "document")


@pytest.mark.parametrize("index", [float("inf"), "first"])
def test_an_index_that_is_no_number_is_an_outage_of_the_provider(
    indexed: FakeProvider, index: object
) -> None:
    def relabelled(answer: Json) -> Json:
        answer["data"][0]["index"] = index
        return answer

    indexed.change = relabelled

    with pytest.raises(ProviderUnavailableError):
        an_embedder(indexed).embed(["a", "b"], "document")


# -------------------------------------------------------------------------------- their own errors


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ("openai", status(429, {"error": {"code": "insufficient_quota", "type": "x"}})),
        ("openai", status(404, {"error": {"code": "model_not_found"}})),
        ("mistral", status(400, {"object": "error", "type": "invalid_model", "code": "1500"})),
        (
            "google",
            status(
                400,
                {
                    "error": {
                        "code": 400,
                        "status": "INVALID_ARGUMENT",
                        "details": [{"reason": "API_KEY_INVALID"}],
                    }
                },
            ),
        ),
        ("google", status(400, {"error": {"code": 400, "status": "FAILED_PRECONDITION"}})),
    ],
)
def test_what_only_people_can_help_is_no_fault_of_a_text(form: str, fault: fakes.Fault) -> None:
    with serving(FORMS[form]) as server:
        server.always = fault

        with pytest.raises(ProviderRefusedError):
            an_embedder(server).embed(["a"], "document")


def test_a_code_in_the_text_of_an_error_does_not_count() -> None:
    # Else a document could stop everybody's work at this provider.
    with serving(FORMS["openai"]) as server:
        message = "bad input: insufficient_quota"
        server.always = status(400, {"error": {"code": None, "message": message}})

        with pytest.raises(ProviderRejectedError):
            an_embedder(server).embed(["a"], "document")


@pytest.mark.parametrize(
    ("headers", "body", "expected_s"),
    [
        ({"Retry_After": "12"}, b"{}", 12.0),
        ({"retry_after_ms": "1500", "Retry_After": "12"}, b"{}", 1.5),
        ({"x_ratelimit_reset_tokens": "6m0s", "x_ratelimit_remaining_tokens": "0"}, b"{}", 360.0),
        ({}, {"error": {"details": [{"retryDelay": "34s"}]}}, 34.0),
        ({}, b"slow down", None),
    ],
)
def test_the_wait_is_what_the_service_says(
    openai_server: FakeProvider, headers: dict[str, str], body: Any, expected_s: float | None
) -> None:
    openai_server.always = status(429, body, **headers)

    with pytest.raises(ProviderUnavailableError) as raised:
        an_embedder(openai_server).embed(["a"], "document")

    assert raised.value.retry_after_s == expected_s
