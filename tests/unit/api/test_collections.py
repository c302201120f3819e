from __future__ import annotations

from tests.unit.api.client import Client


def test_a_collection_is_created_with_its_model() -> None:
    client = Client()

    created = client.send("POST", "/collections", {"collection": "Notes_2", "description": "Mine."})

    assert created.status == 201
    assert created.headers["Location"] == "/live/api/v1/collections/Notes_2"
    assert created.json["fingerprint"] == client.model.fingerprint
    assert (created.json["dimensions"], created.json["distance"]) == (32, "cosine")
    assert client.send("GET", "/collections/Notes_2").json == created.json


def test_collections_are_listed_by_name() -> None:
    client = Client()
    for name in ("b", "a"):
        client.send("POST", "/collections", {"collection": name})

    first = client.send("GET", "/collections", query="limit=2").json
    rest = client.send("GET", "/collections", query=f"cursor={first['cursor']}").json

    assert [item["collection"] for item in first["items"]] == ["a", "b"]
    assert [item["collection"] for item in rest["items"]] == ["default"]


def test_a_deleted_collection_is_gone_with_its_documents() -> None:
    client = Client()
    job_id = client.submit().json["job_id"]

    deleted = client.send("DELETE", "/collections/default")

    assert (deleted.status, deleted.body) == (204, "")
    assert client.send("DELETE", "/collections/default").status == 404
    assert client.send("GET", f"/embeddings/jobs/{job_id}").status == 404


def test_statistics_count_what_a_collection_holds() -> None:
    client = Client()
    client.submit()

    answer = client.send("GET", "/collections/default/statistics")

    assert answer.json["jobs_in_progress"] == 1
    assert (answer.json["documents"], answer.json["chunks"], answer.json["tokens"]) == (0, 0, 0)
