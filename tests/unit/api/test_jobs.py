from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import get_args

import pytest
from embedpipe.api.fields import StatusName
from embedpipe.domain.jobs import JobStatus
from embedpipe.messages import ChunkRequested, decode

from tests.unit.api.client import Client
from tests.unit.api.conftest import Lines

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_submission_is_admitted_and_its_message_sent() -> None:
    client = Client()

    answer = client.submit(document_id="guide-1", metadata={"lang": "en"})

    assert answer.status == 202
    assert answer.json == {
        "job_id": answer.json["job_id"],
        "document_id": "guide-1",
        "version": 1,
        "status": "queued",
    }
    location = answer.headers["Location"]
    assert location == f"/live/api/v1/embeddings/jobs/{answer.json['job_id']}"
    [body] = client.queue.bodies()
    message = decode(ChunkRequested, body)
    assert (message.tenant_id, message.job_id) == ("default", answer.json["job_id"])
    assert (message.document_id, message.document_version) == ("guide-1", 1)
    assert client.database.rows("outbox") == []


def test_a_document_without_an_id_gets_one() -> None:
    client = Client()

    first, second = client.submit().json, client.submit().json

    assert first["document_id"] != second["document_id"]


@pytest.mark.parametrize(
    "content",
    [
        "control \x01\x1f\x7f\x85 characters",
        "emoji 👩‍👩‍👧‍👦 and flags 🇨🇭",
        "שלום עולם, مرحبا بالعالم",
        "你好,世界。",
        "\ufeffmark\r\n\ttabs",
        "\ufffe\uffff not characters",
        "x" * 5_242_880,
        "語" * 1_747_626,
    ],
    ids=lambda content: content[:8].encode("unicode_escape").decode(),
)
def test_any_other_text_is_content(content: str) -> None:
    client = Client()
    raw = json.dumps({"content": content}, ensure_ascii=False).encode()

    answer = client.send("POST", "/embeddings/jobs", raw=raw)

    assert answer.status == 202
    [version] = client.database.rows("document_versions")
    stored = version["content"] or client.blobs.objects[version["content_uri"]].decode()
    assert stored == content


def test_a_whole_number_may_have_a_decimal_point() -> None:
    client = Client()

    answer = client.submit(priority=7.0, chunking={"size": 64.0, "overlap": 8})

    assert answer.status == 202
    assert client.database.rows("jobs")[0]["priority"] == 7


def test_large_content_goes_to_the_object_store_under_the_tenant_and_a_key_of_its_own() -> None:
    client = Client({"INLINE_CONTENT_BYTES": "10"})

    client.submit(content="0123456789")
    client.submit(content="0123456789a")
    client.submit(content="0123456789a")

    assert [row["content"] for row in client.database.rows("document_versions")] == [
        "0123456789",
        None,
        None,
    ]
    assert len(client.blobs.objects) == 2
    assert all(
        re.search(r"documents/default/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", uri)
        for uri in client.blobs.objects
    )


def test_the_job_shows_what_was_submitted() -> None:
    client = Client()
    job_id = client.submit(priority=7, metadata={"a": [1, None, "ü"]}).json["job_id"]

    job = client.send("GET", f"/embeddings/jobs/{job_id}").json

    assert job["status"] == "queued"
    assert job["progress"] == {"chunks_total": None, "chunks_stored": 0}
    assert (job["priority"], job["metadata"]) == (7, {"a": [1, None, "ü"]})
    assert (job["error"], job["finished_at"]) == (None, None)
    assert job["created_at"].endswith("Z")


def test_the_same_idempotency_key_and_request_give_the_same_answer() -> None:
    client = Client()

    first = client.send("POST", "/embeddings/jobs", {"content": "x"}, Idempotency_Key="k-1")
    again = client.send("POST", "/embeddings/jobs", {"content": "x"}, Idempotency_Key="k-1")

    assert (first.status, again.status) == (202, 202)
    assert first.json == again.json
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(client.database.rows("jobs")) == len(client.queue.bodies()) == 1


@pytest.mark.parametrize(
    "other",
    [{"content": "y"}, {"content": "x", "priority": 1}, {"content": "x", "document_id": "d"}],
)
def test_the_same_idempotency_key_with_another_request_is_a_conflict(other: object) -> None:
    client = Client()
    client.send("POST", "/embeddings/jobs", {"content": "x"}, Idempotency_Key="k-1")

    answer = client.send("POST", "/embeddings/jobs", other, Idempotency_Key="k-1")

    assert (answer.status, answer.json["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert answer.json["field"] == "Idempotency-Key"
    assert len(client.database.rows("jobs")) == 1


def test_an_idempotency_key_belongs_to_its_tenant() -> None:
    client = Client()
    key = client.database.create_key("other")
    client.send("POST", "/embeddings/jobs", {"content": "x"}, Idempotency_Key="k-1")

    answer = client.send(
        "POST", "/embeddings/jobs", {"content": "y"}, key=key, Idempotency_Key="k-1"
    )

    assert answer.status == 202


def test_a_queue_outage_does_not_refuse_the_document() -> None:
    client = Client()
    client.queue.is_available = False

    answer = client.submit()

    assert answer.status == 202
    assert len(client.database.rows("outbox")) == 1


def test_an_object_store_outage_refuses_before_admission() -> None:
    client = Client({"INLINE_CONTENT_BYTES": "0"})
    client.blobs.is_available = False
    before = client.everything()

    answer = client.submit()

    assert (answer.status, answer.json["code"]) == (503, "BLOBS_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"
    assert client.everything() == before


def test_a_model_that_is_gone_refuses_before_admission() -> None:
    client = Client()
    client.database.collections.create("default", "old", replace(client.model, model_id="old"), "")
    before = client.everything()

    answer = client.submit(collection="old")

    assert (answer.status, answer.json["code"]) == (503, "MODEL_UNAVAILABLE")
    assert client.everything() == before


def test_jobs_are_listed_newest_first_in_pages() -> None:
    client = Client()
    ids = [client.submit().json["job_id"] for _ in range(5)]

    first = client.send("GET", "/embeddings/jobs", query="limit=3").json
    rest = client.send("GET", "/embeddings/jobs", query=f"limit=3&cursor={first['cursor']}").json

    found = [job["job_id"] for job in first["items"] + rest["items"]]
    assert sorted(found) == sorted(ids)
    assert (len(first["items"]), rest["cursor"]) == (3, None)


def test_jobs_are_listed_by_status_and_collection() -> None:
    client = Client()
    client.database.collections.create("default", "b", client.model, "")
    kept = client.submit().json["job_id"]
    other = client.submit(collection="b").json["job_id"]
    cancelled = client.submit().json["job_id"]
    client.send("DELETE", f"/embeddings/jobs/{cancelled}")

    by_status = client.send("GET", "/embeddings/jobs", query="status=cancelled").json
    by_collection = client.send("GET", "/embeddings/jobs", query="collection=b&status=").json

    assert [job["job_id"] for job in by_status["items"]] == [cancelled]
    assert [job["job_id"] for job in by_collection["items"]] == [other]
    assert kept != other


def test_a_job_is_cancelled_once() -> None:
    client = Client()
    path = f"/embeddings/jobs/{client.submit().json['job_id']}"

    first, again = client.send("DELETE", path), client.send("DELETE", path)

    assert (first.status, first.json["status"]) == (200, "cancelled")
    assert first.json["finished_at"] is not None
    assert (again.status, again.json["code"]) == (409, "JOB_FINAL")


def test_every_status_can_be_asked_for() -> None:
    assert set(get_args(StatusName)) == {status.value for status in JobStatus}


def test_the_log_of_a_submission_names_the_job_and_the_message_names_the_request(
    lines: Lines,
) -> None:
    client = Client()

    answer = client.send("POST", "/embeddings/jobs", {"content": "x"}, traceparent=TRACEPARENT)
    client.send("GET", f"/embeddings/jobs/{answer.json['job_id']}")

    submitted, read = lines()
    assert submitted["job_id"] == read["job_id"] == answer.json["job_id"]
    assert decode(ChunkRequested, client.queue.bodies()[0]).operation_id == "request-1"
    assert submitted["request_id"] == "request-1"
    assert submitted["tenant"] == "default"
    assert (submitted["stage"], submitted["parent_span_id"]) == ("api", "b7ad6b7169203331")
    assert answer.headers["traceparent"] == (
        f"00-{submitted['trace_id']}-{submitted['span_id']}-01"
    )


def test_the_trace_context_of_the_caller_goes_on() -> None:
    client = Client()

    answer = client.send("POST", "/embeddings/jobs", {"content": "x"}, traceparent=TRACEPARENT)

    answered = answer.headers["traceparent"]
    assert answer.headers["X-Trace-Id"] == "0af7651916cd43dd8448eb211c80319c"
    assert answered.startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert answered != TRACEPARENT
    assert decode(ChunkRequested, client.queue.bodies()[0]).traceparent == answered


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "nonsense",
        TRACEPARENT.upper(),
        TRACEPARENT + "\n",
        "ff" + TRACEPARENT[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
def test_a_bad_trace_context_is_replaced(bad: str) -> None:
    client = Client()

    answer = client.send("POST", "/embeddings/jobs", {"content": "x"}, traceparent=bad)

    assert answer.status == 202
    assert answer.headers["traceparent"] != bad
    assert (
        decode(ChunkRequested, client.queue.bodies()[0]).traceparent
        == answer.headers["traceparent"]
    )
