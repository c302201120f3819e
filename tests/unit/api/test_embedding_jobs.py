"""More inputs than somebody waits for: a job, and its vectors once they are stored."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.memory import FakeEmbedder, FakeTokenizer
from embedpipe.domain.tokens import unpack
from embedpipe.messages import ChunkRequested, EmbedRequested, decode
from embedpipe.stages.chunk import chunk
from embedpipe.stages.embed import answer as store_request
from embedpipe.stages.store import store

from tests.unit.api.client import Client

BATCH = "/embeddings/batch"
TEXTS = ["one", "two words", "ümläut", " ", "one", "a last one of many words"]


def a_client(**settings: str) -> Client:
    return Client({"SYNC_MAX_INPUTS": "5"} | settings)


def send(client: Client, inputs: Any = TEXTS, key: Any = None, **fields: Any) -> Any:
    headers = {"Idempotency_Key": key} if key else {}
    return client.send("POST", BATCH, {"inputs": inputs, "model": "fake"} | fields, **headers)


def process(client: Client) -> None:
    """Take what is on the queue through the stages."""
    services = client.services
    for received in client.queue.receive(wait_s=0):
        rows = chunk(
            decode(ChunkRequested, received.body),
            jobs=client.database.jobs,
            blobs=client.blobs,
            models=client.models,
            batch_chunks=2,
            max_message_bytes=services.settings.max_message_bytes,
        )
        for row in rows:
            message = decode(EmbedRequested, row.body)
            assert message.tokens is not None
            vectors = FakeEmbedder().embed(unpack(message.tokens, max_tokens=256))
            store(store_request(message, vectors), jobs=client.database.jobs)


def vectors_of(*texts: str) -> Any:
    return FakeEmbedder().embed(FakeTokenizer().encode(texts))


def told(answer: Any) -> Any:
    return np.array([one["embedding"] for one in answer.json["data"]], dtype=np.float32)


def test_as_many_as_somebody_waits_for_are_answered_at_once() -> None:
    client = a_client()

    answer = send(client, TEXTS[:5])

    assert (answer.status, len(answer.json["data"])) == (200, 5)
    assert client.database.rows("jobs") == []


def test_more_become_a_job_whose_vectors_are_read_in_the_order_of_the_inputs() -> None:
    client = a_client()

    accepted = send(client)
    location = accepted.headers["Location"]
    process(client)
    answer = client.send("GET", location.partition("/api/v1")[2] + "/embeddings")

    job_id = accepted.json["job_id"]
    assert (accepted.status, accepted.json["status"]) == (202, "queued")
    assert location == f"/live/api/v1/embeddings/jobs/{job_id}"
    assert client.worker.asked == []
    assert client.send("GET", f"/embeddings/jobs/{job_id}").json["status"] == "succeeded"
    assert answer.status == 200
    assert np.array_equal(told(answer), vectors_of(*TEXTS))
    assert [one["index"] for one in answer.json["data"]] == list(range(6))
    assert (answer.json["object"], answer.json["model"]) == ("list", "fake")
    assert answer.json["cursor"] is None


def test_the_chunks_are_exactly_the_inputs() -> None:
    client = a_client()

    send(client)
    process(client)

    rows = client.database.rows("chunks")
    assert [row["text"] for row in rows] == TEXTS
    assert [("".join(TEXTS)[row["start_offset"] : row["end_offset"]]) for row in rows] == TEXTS


def test_long_texts_become_a_job_however_few() -> None:
    assert send(a_client(), ["x" * 5121]).status == 202
    assert send(a_client(), ["x" * 5120]).status == 200


def test_what_an_answer_does_not_hold_becomes_a_job() -> None:
    client = Client({"SYNC_MAX_INPUTS": "2048"})
    most = 11_000

    assert send(client, ["x"] * most, encoding_format="base64").status == 202
    assert send(client, ["x"] * 2048, encoding_format="base64").status == 200


def test_token_arrays_are_never_a_job() -> None:
    answer = send(a_client(), [[5]] * 6)

    assert (answer.status, len(answer.json["data"])) == (200, 6)


def test_vectors_are_read_in_pages() -> None:
    client = a_client()
    job_id = send(client).json["job_id"]
    process(client)
    indexes, cursor = [], ""

    for _ in range(2):
        page = client.send(
            "GET", f"/embeddings/jobs/{job_id}/embeddings", query=f"limit=4&cursor={cursor}"
        )
        indexes.append([one["index"] for one in page.json["data"]])
        cursor = page.json["cursor"]

    assert indexes == [[0, 1, 2, 3], [4, 5]]
    assert cursor is None


def test_vectors_are_read_in_base64() -> None:
    client = a_client()
    job_id = send(client).json["job_id"]
    process(client)

    page = client.send(
        "GET", f"/embeddings/jobs/{job_id}/embeddings", query="encoding_format=base64"
    )

    numbers = b"".join(base64.b64decode(one["embedding"]) for one in page.json["data"])
    assert numbers == vectors_of(*TEXTS).astype("<f4").tobytes()


def test_vectors_are_read_in_lengths_that_the_model_offers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = a_client()
    model = client.models.get("fake")
    offering = type(model)(**{**model.__dict__, "matryoshka_dimensions": (16,)})
    monkeypatch.setitem(client.models._models, "fake", offering)
    texts = ["one two three four five six seven eight nine ten"] * 6
    job_id = send(client, texts).json["job_id"]
    process(client)
    path = f"/embeddings/jobs/{job_id}/embeddings"

    short = told(client.send("GET", path, query="dimensions=16"))
    refused = client.send("GET", path, query="dimensions=8")

    whole = vectors_of(texts[0])[0, :16]
    assert np.allclose(short, whole / np.linalg.norm(whole), atol=1e-6)
    assert (refused.status, refused.json["code"]) == (422, "DIMENSIONS_NOT_OFFERED")


def test_before_a_job_succeeded_there_are_no_vectors() -> None:
    client = a_client()
    job_id = send(client).json["job_id"]
    path = f"/embeddings/jobs/{job_id}/embeddings"

    early = client.send("GET", path)
    client.send("DELETE", f"/embeddings/jobs/{job_id}")
    cancelled = client.send("GET", path)

    assert (early.status, early.json["code"]) == (409, "JOB_NOT_SUCCEEDED")
    assert "queued" in early.json["detail"]
    assert (cancelled.status, "cancelled" in cancelled.json["detail"]) == (409, True)


def test_vectors_of_a_replaced_version_are_gone() -> None:
    client = a_client()
    old = client.submit(document_id="a").json["job_id"]
    process(client)
    client.submit(document_id="a")
    process(client)

    answer = client.send("GET", f"/embeddings/jobs/{old}/embeddings")

    assert (answer.status, answer.json["code"]) == (409, "EMBEDDINGS_GONE")


def test_a_list_that_was_begun_does_not_end_early_when_a_newer_version_comes() -> None:
    client = a_client()
    texts = [f"text {number}" for number in range(6)]
    accepted = send(client, texts).json
    process(client)
    path = f"/embeddings/jobs/{accepted['job_id']}/embeddings"
    cursor = client.send("GET", path, query="limit=3").json["cursor"]
    client.submit(document_id=accepted["document_id"])
    process(client)

    answer = client.send("GET", path, query=f"limit=3&cursor={cursor}")

    assert (answer.status, answer.json["code"]) == (409, "EMBEDDINGS_GONE")


def test_vectors_of_a_documents_job_are_those_of_its_chunks() -> None:
    client = a_client()
    job_id = client.submit(content="Some words.").json["job_id"]
    process(client)

    answer = client.send("GET", f"/embeddings/jobs/{job_id}/embeddings")

    assert np.array_equal(told(answer), vectors_of("Some words."))


def test_the_same_key_gives_the_same_job() -> None:
    client = a_client()

    first, again = send(client, key="k"), send(client, key="k")
    other = send(client, [*TEXTS, "more"], key="k")

    assert again.json["job_id"] == first.json["job_id"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.status, other.json["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(client.database.rows("jobs")) == 1


BAD: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "too many": ({"inputs": ["x"] * 50_001}, 400, "TOO_MANY_INPUTS", "inputs"),
    "empty": ({"inputs": [*TEXTS, ""]}, 400, "EMPTY_INPUT", "inputs.6"),
    "no collection": ({"collection": "nowhere"}, 404, "COLLECTION_NOT_FOUND", "collection"),
    "bad collection": ({"collection": "a b"}, 400, "INVALID_FORMAT", "collection"),
    "another model": ({"model": "far"}, 400, "MODEL_MISMATCH", "collection"),
    "dimensions": ({"dimensions": 16}, 400, "DIMENSIONS_NOT_OFFERED", "dimensions"),
    "too large": ({"inputs": ["é" * 100] * 6}, 413, "CONTENT_TOO_LARGE", "inputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_batch_leaves_no_row_and_no_message(case: str) -> None:
    fields, status, code, field = BAD[case]
    client = a_client(MAX_CONTENT_BYTES="1000")
    before = client.everything()

    answer = send(client, **fields)

    assert (answer.status, answer.json["code"], answer.json["field"]) == (status, code, field)
    assert client.everything() == before


def test_a_job_keeps_vectors_of_the_models_own_length() -> None:
    client = a_client()
    client.database.collections.create("default", "far", client.models.get("far"), "")

    answer = send(client, model="far", dimensions=16, collection="far")

    assert (answer.status, answer.json["code"]) == (400, "DIMENSIONS_NOT_OFFERED")
    assert "read them" in answer.json["detail"]


def test_a_collection_that_is_named_is_checked_even_where_nothing_is_kept() -> None:
    answer = send(a_client(), ["x"], collection="nowhere")

    assert (answer.status, answer.json["code"]) == (404, "COLLECTION_NOT_FOUND")


def test_a_job_of_inputs_that_are_too_long_fails_and_names_them() -> None:
    client = a_client()
    job_id = send(client, [*TEXTS, "word " * 300]).json["job_id"]

    with pytest.raises(Exception, match="1 of 7 inputs have more than 256 tokens: 6"):
        process(client)

    assert client.send("GET", f"/embeddings/jobs/{job_id}").json["status"] == "chunking"


def test_the_document_says_what_it_is() -> None:
    client = a_client()

    document_id = send(client).json["document_id"]
    process(client)

    path = f"/collections/default/documents/{document_id}"
    document = client.send("GET", path).json
    assert document["content_type"] == "application/vnd.embedpipe.inputs+json"
    assert document["chunks"] == 6
    assert json.dumps(TEXTS[2]) not in json.dumps(document)
