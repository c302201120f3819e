from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from embedpipe.domain.jobs import BatchRef, JobRef
from embedpipe.domain.tokens import pack
from embedpipe.errors import MalformedMessageError
from embedpipe.messages import (
    SCHEMAS,
    ChunkRequested,
    EmbedRequested,
    Message,
    StoreRequested,
    decode,
    json_schemas,
)

JOB_ID = "00000000-0000-4000-8000-000000000001"
ENVELOPE: dict[str, Any] = {
    "operation_id": "operation",
    "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "tenant_id": "acme",
    "job_id": JOB_ID,
    "epoch": 2,
    "collection": "default",
    "document_id": "Bücher/日本 😀",
    "document_version": 3,
    "traceparent": f"00-{'1' * 32}-{'2' * 16}-01",
}
BATCH: dict[str, Any] = {
    "batch_no": 4,
    "chunk_from": 8,
    "chunk_count": 2,
    "model_id": "fake",
    "fingerprint": "f" * 64,
}


def a_chunk_request(**overrides: Any) -> ChunkRequested:
    return ChunkRequested(**ENVELOPE | overrides)


def an_embed_request(**overrides: Any) -> EmbedRequested:
    return EmbedRequested(**ENVELOPE | BATCH | {"tokens": pack([[1, 2], [1, 7, 2]])} | overrides)


def a_store_request(**overrides: Any) -> StoreRequested:
    return StoreRequested(**ENVELOPE | BATCH | {"dimensions": 3, "vectors": "AAAA"} | overrides)


MESSAGES = [a_chunk_request(), an_embed_request(), a_store_request()]


def changed(message: Message, **overrides: Any) -> str:
    return json.dumps(json.loads(message.encode()) | overrides)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.msg_schema)
def test_what_is_sent_is_what_is_read(message: Message) -> None:
    assert decode(type(message), message.encode()) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.msg_schema)
def test_a_body_is_ascii_only(message: Message) -> None:
    assert message.encode().isascii()


def test_characters_that_the_queue_refuses_are_escaped() -> None:
    message = a_chunk_request(document_id="a\x01\x0b\ufffeb")

    body = message.encode()

    assert body.isprintable()
    assert decode(ChunkRequested, body).document_id == "a\x01\x0b\ufffeb"


def test_a_message_names_its_job_and_batch() -> None:
    ref = JobRef("acme", JOB_ID, 2, "default", "Bücher/日本 😀", 3)

    assert a_chunk_request().ref == ref
    assert an_embed_request().batch == BatchRef(ref, 4)


def test_every_message_gets_an_operation_and_a_time_of_its_own() -> None:
    fields = {key: ENVELOPE[key] for key in ENVELOPE if key not in {"operation_id", "created_at"}}

    first, second = ChunkRequested(**fields), ChunkRequested(**fields)

    assert first.operation_id != second.operation_id
    assert first.created_at.tzinfo is not None


@pytest.mark.parametrize("field", ["batch_no", "chunk_from"])
def test_a_batch_that_the_database_cannot_count_is_refused(field: str) -> None:
    with pytest.raises(MalformedMessageError, match=field):
        decode(EmbedRequested, changed(an_embed_request(), **{field: 2**31}))


def test_a_field_name_that_the_database_cannot_keep_is_escaped() -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode(ChunkRequested, changed(a_chunk_request(), **{"extra\x00": 1}))

    assert "\\x00" in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"msg_version": 2}, "msg_version"),
        ({"msg_schema": "embedpipe.embed.v1"}, "msg_schema"),
        ({"extra": "SECRET"}, "extra"),
        ({"job_id": "SECRET"}, "job_id"),
        ({"epoch": 0}, "epoch"),
        ({"epoch": "SECRET"}, "epoch"),
        ({"epoch": 2**31}, "epoch"),
        ({"document_version": 2**31}, "document_version"),
        ({"tenant_id": ""}, "tenant_id"),
        ({"tenant_id": "a\x00"}, "tenant_id"),
        ({"collection": "\x00"}, "collection"),
        ({"document_id": "a\n\x00b"}, "document_id"),
        ({"document_id": "SECRET" * 50}, "document_id"),
        ({"created_at": "2026-01-02T03:04:05"}, "created_at"),
    ],
)
def test_another_schema_is_refused_by_the_field_and_never_its_value(
    overrides: dict[str, Any], field: str
) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode(ChunkRequested, changed(a_chunk_request(), **overrides))

    assert caught.value.code == "SCHEMA"
    assert field in caught.value.message
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "body", ["", "{", "null", "[]", "\ud800", '"SECRET"', "SECRET", "[" * 5000]
)
def test_what_is_no_message_is_refused(body: str) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode(ChunkRequested, body)

    assert "SECRET" not in str(caught.value)


def test_a_missing_field_is_named() -> None:
    body = json.loads(a_store_request().encode())
    del body["vectors"]

    with pytest.raises(MalformedMessageError, match="vectors: missing"):
        decode(StoreRequested, json.dumps(body))


def test_there_is_one_length_for_every_chunk() -> None:
    with pytest.raises(MalformedMessageError):
        decode(EmbedRequested, changed(an_embed_request(), chunk_count=3))


def test_the_reason_is_short_however_much_is_wrong() -> None:
    body = changed(a_chunk_request(), **{f"{number}" * 10_000: 1 for number in range(100)})

    with pytest.raises(MalformedMessageError) as caught:
        decode(ChunkRequested, body)

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_is_published_where_its_messages_say(name: str) -> None:
    schema = json_schemas()[name]

    assert schema["$id"] == f"/api/v1/schemas/{name}.json"
    assert schema["$id"] == schema["properties"]["schema_url"]["default"]
    assert schema["properties"]["msg_schema"]["const"] == name
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.msg_schema)
def test_messages_have_every_field_that_their_schema_requires(message: Message) -> None:
    schema = json_schemas()[message.msg_schema]
    body = json.loads(message.encode())

    assert set(schema["required"]) <= set(body) <= set(schema["properties"])
