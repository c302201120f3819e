"""Documents in over HTTP, searchable vectors out."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.e2e.client import Client
from tests.e2e.targets import LOCAL, LOCALSTACK, MINISTACK, Target, chosen
from tests.e2e.texts import SCRIPTS, a_text


def test_a_document_becomes_searchable(client: Client, collection: str) -> None:
    client.store(collection, "Sourdough bread needs flour, water, salt and time.", "bread")
    client.store(collection, "A telescope with a large mirror gathers more light.", "telescope")

    best, other = client.search(collection, "how do I bake a loaf?")

    assert best["document_id"] == "bread"
    assert best["text"] == "Sourdough bread needs flour, water, salt and time."
    assert best["score"] > other["score"]


def test_a_job_tells_its_way_through_all_stages(client: Client, collection: str) -> None:
    accepted = client.submit(collection, a_text(1, 600), "long", metadata={"doc": "long"})

    job = client.finished(accepted["job_id"])

    times = [job[f"{name}_at"] for name in ("created", "chunking", "embedding", "storing")]
    chunks = job["progress"]["chunks_total"]
    assert job["status"] == "succeeded"
    assert [*times, job["finished_at"]] == sorted([*times, job["finished_at"]])
    assert job["progress"]["chunks_stored"] == chunks > 1
    assert client.chunks_of(collection, "long") == list(range(chunks))


def test_a_document_posted_again_replaces_its_older_version(
    client: Client, collection: str
) -> None:
    client.store(collection, "The meeting is on Monday.", "note", metadata={"doc": "note"})

    second = client.submit(
        collection, "The meeting is on Friday.", "note", metadata={"doc": "note"}
    )
    seen = {hit["version"] for hit in client.search(collection, "when is the meeting?")}
    job = client.finished(second["job_id"])
    hits = client.search(collection, "when is the meeting?")

    assert (second["version"], job["status"]) == (2, "succeeded")
    assert len(seen) == 1
    assert [(hit["version"], hit["text"]) for hit in hits] == [(2, "The meeting is on Friday.")]


def test_every_chunk_is_a_slice_of_its_source_in_any_script(
    client: Client, collection: str
) -> None:
    client.store(collection, SCRIPTS, "scripts", metadata={"doc": "scripts"})

    hits = client.search(collection, "cat", top_k=100, filter={"doc": "scripts"})

    assert len(hits) > 3
    assert all(hit["text"] == SCRIPTS[hit["start"] : hit["end"]] for hit in hits)
    covered = {i for hit in hits for i in range(hit["start"], hit["end"])}
    assert not [i for i, char in enumerate(SCRIPTS) if i not in covered and not char.isspace()]


def test_a_word_of_100_000_characters_is_stored(client: Client, collection: str) -> None:
    text = "before " + "x" * 100_000 + " after"

    job = client.finished(client.submit(collection, text, "word")["job_id"])

    assert job["status"] == "succeeded", job


def test_five_megabytes_are_accepted_cut_and_cancelled_and_hold_up_nobody(
    client: Client, collection: str
) -> None:
    text = a_text(5, 800_000)[:5_242_880]
    accepted = client.submit(collection, text, "large")

    job = client.in_status(accepted["job_id"], "embedding", "storing", "failed", timeout_s=60)
    cancelled = client.cancel(accepted["job_id"])

    assert len(text) == 5_242_880
    assert job["status"] != "failed", job
    assert job["progress"]["chunks_total"] > 1000
    assert cancelled.status_code == 200
    assert client.statistics(collection)["chunks"] == 0
    client.store(collection, "What comes next does not wait for it.", "next")


@pytest.mark.parametrize("document_id", ["a b:c", "100%", "100%25", "ümläut-日本", "q?x=1&y#z"])
def test_a_document_is_read_by_any_id(client: Client, collection: str, document_id: str) -> None:
    if "%25" in document_id and chosen() == MINISTACK:
        pytest.skip("MiniStack decodes a path twice")
    client.submit(collection, "Some text.", document_id)

    path = f"/collections/{collection}/documents/{quote(document_id, safe='')}"
    answer = client.request("GET", path)

    assert answer.status_code == 200, answer.text
    assert answer.json()["document_id"] == document_id


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"content": " "}, 422, "EMPTY_CONTENT"),
        ({"content": "x", "colour": "red"}, 422, "UNKNOWN_FIELD"),
        ({"content": "x", "chunking": {"size": 8, "overlap": 8}}, 422, "OVERLAP_TOO_LARGE"),
        ({"content": "x", "collection": "missing"}, 404, "COLLECTION_NOT_FOUND"),
        ({"content": "x" * 6_400_000}, 413, "TOO_LARGE"),
        ({"content": "x" * 11_000_000}, 413, "TOO_LARGE"),
    ],
)
def test_bad_input_is_refused_with_a_code(
    client: Client, body: dict[str, object], status: int, code: str
) -> None:
    if status == 413 and chosen() != LOCAL:
        pytest.skip("what Lambda does not take, the function does not see")

    answer = client.request("POST", "/embeddings/jobs", json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_not_json_is_refused(client: Client) -> None:
    answer = client.request(
        "POST",
        "/embeddings/jobs",
        content=b"{",
        headers={"content-type": "application/json"},
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "MALFORMED_REQUEST")


def test_a_wrong_key_is_refused(target: Target) -> None:
    # A stack with a usage plan is not even asked.
    refusal = 403 if chosen() == LOCALSTACK else 401

    with target.client("not-the-key-of-this-target") as stranger:
        answer = stranger.request("GET", "/embeddings/jobs")

    assert answer.status_code == refusal
