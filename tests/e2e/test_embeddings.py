"""Vectors over HTTP, by the openai client and by a job; both are the same vectors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openai
import pytest

from tests.e2e.client import Client
from tests.e2e.targets import LOCALSTACK, Target, chosen

MODEL_ID = "all-MiniLM-L6-v2"
REFERENCE = Path(__file__).resolve().parents[1] / "data" / "minilm_reference.json"
LEAST_COSINE = 0.9999

Floats = npt.NDArray[np.float32]


@pytest.fixture
def embeddings(target: Target) -> Iterator[openai.OpenAI]:
    """The openai client, with the right key."""
    key = target.api_key()
    with openai.OpenAI(
        base_url=f"{target.url}/v1",
        api_key=key,
        # A usage plan knows no other header.
        default_headers={"X-API-KEY": key} if chosen() == LOCALSTACK else None,
        max_retries=0,
        timeout=60,
    ) as client:
        yield client


def vectors_of(answer: openai.types.CreateEmbeddingResponse) -> Floats:
    return np.array([one.embedding for one in answer.data], dtype=np.float32)


def test_the_openai_client_gets_the_vectors_of_sentence_transformers(
    embeddings: openai.OpenAI,
) -> None:
    rows = json.loads(REFERENCE.read_text(encoding="utf-8"))["rows"]
    short = [row for row in rows if 0 < len(row["text"]) < 200][:20]

    answer = embeddings.embeddings.with_raw_response.create(
        model=MODEL_ID, input=[row["text"] for row in short]
    )

    theirs = np.array([row["vector"] for row in short], dtype=np.float32)
    assert (vectors_of(answer.parse()) * theirs).sum(axis=1).min() >= LEAST_COSINE
    assert answer.headers["X-Embeddings-Provider"] == "onnx"
    assert answer.headers["X-Embeddings-Model"] == MODEL_ID


def test_what_is_wrong_is_told_to_the_openai_client(embeddings: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        embeddings.embeddings.create(model="gpt", input="x")
    with pytest.raises(openai.BadRequestError) as raised:
        embeddings.embeddings.create(model=MODEL_ID, input=["x", "word " * 300])
    with pytest.raises(openai.AuthenticationError):
        embeddings.with_options(api_key="wrong").embeddings.create(model=MODEL_ID, input="x")

    assert raised.value.code == "input_too_long"


def test_more_inputs_than_somebody_waits_for_become_a_job_with_the_same_vectors(
    client: Client, collection: str, embeddings: openai.OpenAI
) -> None:
    texts = [f"Text number {number} is about {number % 7} things." for number in range(300)]
    body = {"model": MODEL_ID, "inputs": texts, "collection": collection}

    accepted = client.request("POST", "/embeddings/batch", json=body)
    job = client.finished(accepted.json()["job_id"])
    numbers, cursor = b"", ""
    while cursor is not None:
        page = client.request(
            "GET",
            f"/embeddings/jobs/{job['job_id']}/embeddings",
            params={"limit": 100, "encoding_format": "base64", "cursor": cursor},
        ).json()
        numbers += b"".join(base64.b64decode(one["embedding"]) for one in page["data"])
        cursor = page["cursor"]

    assert accepted.status_code == 202
    assert accepted.headers["Location"].endswith(f"/embeddings/jobs/{job['job_id']}")
    assert job["status"] == "succeeded"
    stored = np.frombuffer(numbers, dtype="<f4").reshape(len(texts), -1)
    at_once = vectors_of(embeddings.embeddings.create(model=MODEL_ID, input=texts[:20]))
    assert (stored[:20] * at_once).sum(axis=1).min() >= LEAST_COSINE
    best = client.search(collection, texts[42])[0]
    assert (best["text"], best["chunk_index"]) == (texts[42], 42)


def test_models_are_listed_and_loaded(client: Client) -> None:
    body = {"provider": "onnx", "model_id": MODEL_ID}

    warmed = client.request("POST", "/embeddings/models/warmup", json=body)
    listed = client.request("GET", "/embeddings/models").json()["items"]

    assert (warmed.status_code, warmed.json()["state"]) == (200, "already_loaded")
    [model] = [one for one in listed if one["model_id"] == MODEL_ID]
    assert (model["dimensions"], model["is_default"], model["loaded"]) == (384, True, True)


def test_circuit_breakers_are_listed(client: Client) -> None:
    listed = client.request("GET", "/embeddings/circuit-breakers")
    unknown = client.request("POST", "/embeddings/circuit-breakers/nobody/reset")

    assert (listed.status_code, listed.json()["items"]) == (200, [])
    assert (unknown.status_code, unknown.json()["code"]) == (404, "PROVIDER_NOT_FOUND")
