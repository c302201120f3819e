from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.unit.api.client import Client

DOCUMENTS = "/collections/default/documents"


def test_put_admits_version_after_version() -> None:
    client = Client()

    first = client.send("PUT", DOCUMENTS + "/guide-1", {"content": "One."})
    second = client.send("PUT", DOCUMENTS + "/guide-1", {"content": "Two."})

    assert (first.status, first.json["version"]) == (202, 1)
    assert (second.status, second.json["version"]) == (202, 2)
    assert second.json["document_id"] == "guide-1"
    superseded = client.send("GET", f"/embeddings/jobs/{first.json['job_id']}").json
    assert (superseded["status"], superseded["error"]["code"]) == ("cancelled", "SUPERSEDED")


@pytest.mark.parametrize(
    "document_id",
    ["a b", "100%", "50%25", "ümlaut", "語", 'a"b', "a#b?c", "[x]|^`", "~a:b@c;d=e", "é👍"],
)
def test_any_printable_id_survives_the_path(document_id: str) -> None:
    client = Client()
    path = f"{DOCUMENTS}/{quote(document_id, safe='')}"

    put = client.send("PUT", path, {"content": "One."})

    assert put.json["document_id"] == document_id
    assert client.send("GET", path).json["document_id"] == document_id


@pytest.mark.parametrize("document_id", ["a b", "ümlaut", 'a"b', "a^b", "100%"])
def test_a_gateway_may_have_decoded_the_path(document_id: str) -> None:
    client = Client()

    put = client.send("PUT", f"{DOCUMENTS}/{document_id}", {"content": "One."})

    assert put.json["document_id"] == document_id


def test_a_document_shows_its_versions() -> None:
    client = Client()
    body = {"content": "# One", "content_type": "text/markdown", "metadata": {"a": 1}}
    client.send("PUT", DOCUMENTS + "/guide-1", body)

    document = client.send("GET", DOCUMENTS + "/guide-1").json

    assert (document["version"], document["latest_version"]) == (None, 1)
    assert (document["content_type"], document["metadata"]) == ("text/markdown", {"a": 1})
    assert document["deleted_at"] is None


def test_a_deleted_document_is_restored() -> None:
    client = Client()
    job_id = client.send("PUT", DOCUMENTS + "/guide-1", {"content": "One."}).json["job_id"]

    deleted = client.send("DELETE", DOCUMENTS + "/guide-1")
    again = client.send("DELETE", DOCUMENTS + "/guide-1")
    restored = client.send("POST", DOCUMENTS + "/guide-1/restore")

    assert (deleted.status, again.status, restored.status) == (200, 200, 200)
    assert deleted.json["deleted_at"] is not None
    assert restored.json["deleted_at"] is None
    assert (
        client.send("GET", f"/embeddings/jobs/{job_id}").json["error"]["code"] == "DOCUMENT_DELETED"
    )


def test_deleted_documents_are_listed_when_asked_for() -> None:
    client = Client()
    for name in ("a", "b"):
        client.send("PUT", f"{DOCUMENTS}/{name}", {"content": "One."})
    client.send("DELETE", DOCUMENTS + "/a")

    usual = client.send("GET", DOCUMENTS).json
    whole = client.send("GET", DOCUMENTS, query="include_deleted=true&limit=1").json

    assert [item["document_id"] for item in usual["items"]] == ["b"]
    assert [item["document_id"] for item in whole["items"]] == ["a"]
    assert whole["cursor"] is not None


@pytest.mark.parametrize("flag", ["1", "True", "yes"])
def test_a_flag_is_true_or_false(flag: str) -> None:
    answer = Client().send("GET", DOCUMENTS, query=f"include_deleted={flag}")

    assert (answer.status, answer.json["code"]) == (422, "WRONG_TYPE")


def test_put_and_post_of_the_same_document_are_the_same_request() -> None:
    client = Client()
    posted = client.send(
        "POST",
        "/embeddings/jobs",
        {"content": "One.", "document_id": "guide-1"},
        Idempotency_Key="k-1",
    )

    put = client.send("PUT", DOCUMENTS + "/guide-1", {"content": "One."}, Idempotency_Key="k-1")

    assert (put.status, put.json) == (202, posted.json)
