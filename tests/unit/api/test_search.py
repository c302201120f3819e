from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.client import Client
from tests.unit.api.stored import store

SEARCH = "/vector_stores/default/search"


def a_store() -> Client:
    client = Client()
    for document_id, content, metadata in [
        ("cats", "cats purr", {"kind": "animal", "tags": ["a", "b"]}),
        ("dogs", "dogs bark", {"kind": "animal"}),
        ("cars", "cars honk", {"kind": "thing"}),
    ]:
        fields: dict[str, Any] = {"document_id": document_id, "metadata": metadata}
        store(client, client.submit(content=content, **fields).json["job_id"])
    return client


def test_a_text_finds_the_chunk_that_says_it() -> None:
    answer = a_store().send("POST", SEARCH, {"query": "dogs bark"})

    assert answer.status == 200
    best = answer.json["results"][0]
    assert best.pop("score") == pytest.approx(1.0, abs=1e-6)
    assert best == {
        "document_id": "dogs",
        "version": 1,
        "chunk_index": 0,
        "text": "dogs bark",
        "start": 0,
        "end": 9,
        "heading_path": ["Top", "Sub"],
        "metadata": {"kind": "animal"},
    }


def test_a_vector_finds_the_same_as_its_text_whatever_its_length() -> None:
    client = a_store()
    vector = client.embedder.embed_query("cats purr", client.model.fingerprint)

    by_text = client.send("POST", SEARCH, {"query": "cats purr"}).json
    by_vector = client.send("POST", SEARCH, {"vector": [1e300 * x for x in vector]}).json

    assert [hit["document_id"] for hit in by_text["results"]] == [
        hit["document_id"] for hit in by_vector["results"]
    ]
    assert by_vector["results"][0]["score"] == pytest.approx(1.0, abs=1e-6)


def test_top_k_filter_and_min_score_narrow_the_results() -> None:
    client = a_store()

    def found(**fields: Any) -> list[str]:
        answer = client.send("POST", SEARCH, {"query": "cats purr"} | fields)
        return [hit["document_id"] for hit in answer.json["results"]]

    assert len(found(top_k=2)) == 2
    assert set(found(filter={"kind": "animal"})) == {"cats", "dogs"}
    assert found(filter={"tags": ["b"]}) == ["cats"]
    assert found(min_score=0.99, ef_search=100) == ["cats"]
    assert found(min_score=0.99, filter={"kind": "thing"}) == []


def test_without_an_embedder_texts_are_refused_and_vectors_are_not() -> None:
    client = a_store()
    client.embedder.available = False

    by_text = client.send("POST", SEARCH, {"query": "cats"})
    by_vector = client.send("POST", SEARCH, {"vector": [1.0] * 32})

    assert (by_text.status, by_text.json["code"]) == (503, "EMBEDDER_UNAVAILABLE")
    assert int(by_text.headers["Retry-After"]) > 0
    assert by_vector.status == 200


def test_another_tenants_documents_are_not_found() -> None:
    client = a_store()
    key = client.database.create_key("other")

    answer = client.send("POST", SEARCH, {"query": "cats purr"}, key=key)

    assert answer.json == {"results": []}
