"""Bad input gets a problem with a stable code and the field named, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from embedpipe.api.codes import CODES

from tests.unit.api.client import Client
from tests.unit.api.conftest import Lines

JOBS = "/embeddings/jobs"
SEARCH = "/vector_stores/default/search"
COLLECTIONS = "/collections"
DOCUMENTS = "/collections/default/documents"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"k": value}
    return value


SUBMISSIONS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "empty content": ({"content": ""}, 422, "EMPTY_CONTENT", "content"),
    "white space": ({"content": " \n\t\u2003"}, 422, "EMPTY_CONTENT", "content"),
    "no text": ({"content": 7}, 422, "WRONG_TYPE", "content"),
    "null content": ({"content": None}, 422, "WRONG_TYPE", "content"),
    "too much content": ({"content": "é" * 501}, 413, "CONTENT_TOO_LARGE", "content"),
    "NUL": ({"content": "a\0b"}, 422, "INVALID_TEXT", "content"),
    "surrogate": ({"content": "a\ud800b"}, 422, "INVALID_TEXT", "content"),
    "NUL in an id": ({"document_id": "a\0"}, 422, "INVALID_TEXT", "document_id"),
    "surrogate in an id": ({"document_id": "\udfff"}, 422, "INVALID_TEXT", "document_id"),
    "empty id": ({"document_id": ""}, 422, "TOO_SHORT", "document_id"),
    "long id": ({"document_id": "x" * 257}, 422, "TOO_LONG", "document_id"),
    "slash in id": ({"document_id": "a/b"}, 422, "INVALID_FORMAT", "document_id"),
    "backslash in id": ({"document_id": "a\\b"}, 422, "INVALID_FORMAT", "document_id"),
    "control in id": ({"document_id": "a\x07"}, 422, "INVALID_FORMAT", "document_id"),
    "newline in id": ({"document_id": "a\n"}, 422, "INVALID_FORMAT", "document_id"),
    "space around id": ({"document_id": " a"}, 422, "INVALID_FORMAT", "document_id"),
    "dots as id": ({"document_id": ".."}, 422, "INVALID_FORMAT", "document_id"),
    "number as id": ({"document_id": 5}, 422, "WRONG_TYPE", "document_id"),
    "bad collection": ({"collection": "a b"}, 422, "INVALID_FORMAT", "collection"),
    "long collection": ({"collection": "a" * 64}, 422, "INVALID_FORMAT", "collection"),
    "collection and newline": ({"collection": "default\n"}, 422, "INVALID_FORMAT", "collection"),
    "no collection": ({"collection": "nowhere"}, 404, "COLLECTION_NOT_FOUND", "collection"),
    "type": ({"content_type": "text/html"}, 422, "INVALID_CHOICE", "content_type"),
    "unknown field": ({"colection": "x"}, 422, "UNKNOWN_FIELD", "colection"),
    "odd unknown field": ({"a\x01\u202e": 1}, 422, "UNKNOWN_FIELD", "a\ufffd\ufffd"),
    "NUL field": ({"a\0": 1}, 422, "INVALID_TEXT", "a\ufffd"),
    "text priority": ({"priority": "50"}, 422, "WRONG_TYPE", "priority"),
    "true priority": ({"priority": True}, 422, "WRONG_TYPE", "priority"),
    "float priority": ({"priority": 50.5}, 422, "WRONG_TYPE", "priority"),
    "null priority": ({"priority": None}, 422, "WRONG_TYPE", "priority"),
    "priority": ({"priority": 101}, 422, "OUT_OF_RANGE", "priority"),
    "negative priority": ({"priority": -1}, 422, "OUT_OF_RANGE", "priority"),
    "huge priority": ({"priority": 10**30}, 422, "OUT_OF_RANGE", "priority"),
    "metadata list": ({"metadata": [1]}, 422, "WRONG_TYPE", "metadata"),
    "metadata text": ({"metadata": "{}"}, 422, "WRONG_TYPE", "metadata"),
    "metadata null": ({"metadata": None}, 422, "WRONG_TYPE", "metadata"),
    "metadata size": ({"metadata": {"k": "é" * 50}}, 413, "METADATA_TOO_LARGE", "metadata"),
    "metadata depth": ({"metadata": nested(10)}, 422, "TOO_DEEP", "metadata"),
    "metadata depth in lists": (
        {"metadata": {"k": [[[[[[[[[[1]]]]]]]]]]}},
        422,
        "TOO_DEEP",
        "metadata",
    ),
    "NUL in key": ({"metadata": {"a\0": 1}}, 422, "INVALID_TEXT", "metadata"),
    "NUL in value": ({"metadata": {"a": ["\0"]}}, 422, "INVALID_TEXT", "metadata"),
    "surrogate in key": ({"metadata": {"b": {"\ud800": 1}}}, 422, "INVALID_TEXT", "metadata"),
    "surrogate in value": ({"metadata": {"a": "\udc00"}}, 422, "INVALID_TEXT", "metadata"),
    "NaN": ({"metadata": {"a": float("nan")}}, 422, "OUT_OF_RANGE", "metadata"),
    "infinity": ({"metadata": {"a": [float("-inf")]}}, 422, "OUT_OF_RANGE", "metadata"),
    "huge integer": ({"metadata": {"a": 2**63}}, 422, "OUT_OF_RANGE", "metadata"),
    "chunking list": ({"chunking": []}, 422, "WRONG_TYPE", "chunking"),
    "size": ({"chunking": {"size": -1}}, 422, "OUT_OF_RANGE", "chunking.size"),
    "zero size": ({"chunking": {"size": 0}}, 422, "OUT_OF_RANGE", "chunking.size"),
    "text size": ({"chunking": {"size": "256"}}, 422, "WRONG_TYPE", "chunking.size"),
    "room for no token": (
        {"chunking": {"size": 2}},
        422,
        "CHUNK_SIZE_OUT_OF_RANGE",
        "chunking.size",
    ),
    "above model": ({"chunking": {"size": 257}}, 422, "CHUNK_SIZE_OUT_OF_RANGE", "chunking.size"),
    "above any": ({"chunking": {"size": 32_769}}, 422, "OUT_OF_RANGE", "chunking.size"),
    "overlap": (
        {"chunking": {"size": 32, "overlap": 32}},
        422,
        "OVERLAP_TOO_LARGE",
        "chunking.overlap",
    ),
    "overlap of all but special tokens": (
        {"chunking": {"size": 32, "overlap": 30}},
        422,
        "OVERLAP_TOO_LARGE",
        "chunking.overlap",
    ),
    "overlap of the default": (
        {"chunking": {"overlap": 300}},
        422,
        "OVERLAP_TOO_LARGE",
        "chunking.overlap",
    ),
    "negative overlap": ({"chunking": {"overlap": -1}}, 422, "OUT_OF_RANGE", "chunking.overlap"),
    "unit": ({"chunking": {"unit": "words"}}, 422, "INVALID_CHOICE", "chunking.unit"),
    "unknown in chunking": ({"chunking": {"seize": 1}}, 422, "UNKNOWN_FIELD", "chunking.seize"),
}

RAW: dict[str, tuple[str | bytes | None, int, str]] = {
    "nothing": (None, 415, "UNSUPPORTED_MEDIA_TYPE"),
    "empty": ("", 400, "MALFORMED_REQUEST"),
    "no JSON": ("{", 400, "MALFORMED_REQUEST"),
    "more than JSON": ('{"content": "x"} x', 400, "MALFORMED_REQUEST"),
    "invalid UTF-8": (b'{"content": "\xff"}', 400, "MALFORMED_REQUEST"),
    "surrogate in UTF-8": (b'{"content": "\xed\xa0\x80"}', 400, "MALFORMED_REQUEST"),
    "raw surrogate": ('{"content": "\ud800"}', 400, "MALFORMED_REQUEST"),
    "byte order mark": (b'\xef\xbb\xbf{"content": "x"}', 400, "MALFORMED_REQUEST"),
    "UTF-16": ('{"content": "x"}'.encode("utf-16"), 400, "MALFORMED_REQUEST"),
    "raw control": ('{"content": "a\x01"}', 400, "MALFORMED_REQUEST"),
    "deep": ('{"metadata":' * 50_000, 400, "MALFORMED_REQUEST"),
    "long number": ('{"priority": ' + "9" * 5000 + "}", 400, "MALFORMED_REQUEST"),
    "same key twice": ('{"content": "a", "content": "b"}', 400, "DUPLICATE_KEY"),
    "list": ("[]", 422, "WRONG_TYPE"),
    "null": ("null", 422, "WRONG_TYPE"),
    "huge": ('"' + "x" * 6_291_456 + '"', 413, "BODY_TOO_LARGE"),
}

SEARCHES: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "neither": ({}, 422, "QUERY_OR_VECTOR", "query"),
    "both": ({"query": "x", "vector": [1.0] * 32}, 422, "QUERY_OR_VECTOR", "query"),
    "blank query": ({"query": " "}, 422, "EMPTY_QUERY", "query"),
    "long query": ({"query": "x" * 8193}, 422, "TOO_LONG", "query"),
    "number": ({"query": 5}, 422, "WRONG_TYPE", "query"),
    "NUL": ({"query": "\0"}, 422, "INVALID_TEXT", "query"),
    "no dimensions": ({"vector": []}, 422, "TOO_SHORT", "vector"),
    "dimensions": ({"vector": [1.0] * 31}, 422, "DIMENSION_MISMATCH", "vector"),
    "many dimensions": ({"vector": [1.0] * 16_001}, 422, "TOO_LONG", "vector"),
    "zero": ({"vector": [0.0] * 32}, 422, "ZERO_VECTOR", "vector"),
    "NaN": ({"vector": [float("nan")] * 32}, 422, "OUT_OF_RANGE", "vector"),
    "text in vector": ({"vector": ["1"] * 32}, 422, "WRONG_TYPE", "vector.0"),
    "boolean in vector": ({"vector": [True] * 32}, 422, "WRONG_TYPE", "vector.0"),
    "top_k": ({"query": "x", "top_k": 101}, 422, "OUT_OF_RANGE", "top_k"),
    "zero top_k": ({"query": "x", "top_k": 0}, 422, "OUT_OF_RANGE", "top_k"),
    "filter": ({"query": "x", "filter": []}, 422, "WRONG_TYPE", "filter"),
    "filter size": (
        {"query": "x", "filter": {"k": "x" * 200}},
        413,
        "METADATA_TOO_LARGE",
        "filter",
    ),
    "filter depth": ({"query": "x", "filter": nested(10)}, 422, "TOO_DEEP", "filter"),
    "min_score": ({"query": "x", "min_score": 2}, 422, "OUT_OF_RANGE", "min_score"),
    "ef_search": ({"query": "x", "ef_search": 0}, 422, "OUT_OF_RANGE", "ef_search"),
    "unknown": ({"query": "x", "hybrid": True}, 422, "UNKNOWN_FIELD", "hybrid"),
}

NEW_COLLECTIONS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no name": ({}, 422, "MISSING_FIELD", "collection"),
    "bad name": ({"collection": "-a"}, 422, "INVALID_FORMAT", "collection"),
    "taken": ({"collection": "default"}, 409, "COLLECTION_EXISTS", "collection"),
    "no such model": ({"collection": "x", "model_id": "gpt"}, 422, "MODEL_NOT_FOUND", "model_id"),
    "long description": (
        {"collection": "x", "description": "x" * 1001},
        422,
        "TOO_LONG",
        "description",
    ),
}

QUERIES: dict[str, tuple[str, str, str]] = {
    "limit": ("limit=0", "OUT_OF_RANGE", "limit"),
    "large limit": ("limit=101", "OUT_OF_RANGE", "limit"),
    "word limit": ("limit=ten", "WRONG_TYPE", "limit"),
    "signed limit": ("limit=%2B5", "WRONG_TYPE", "limit"),
    "other digits": ("limit=%D9%A5", "WRONG_TYPE", "limit"),
    "long limit": ("limit=" + "9" * 5000, "OUT_OF_RANGE", "limit"),
    "status": ("status=done", "INVALID_CHOICE", "status"),
    "unknown": ("statuss=queued", "UNKNOWN_FIELD", "statuss"),
    "twice": ("limit=1&limit=2", "REPEATED_PARAMETER", "limit"),
    "collection": ("collection=a%20b", "INVALID_FORMAT", "collection"),
    "cursor": ("cursor=nonsense", "INVALID_CURSOR", "cursor"),
    "NUL": ("cursor=%00", "INVALID_TEXT", "cursor"),
}

PATHS: dict[str, tuple[str, str, int, str]] = {
    "job": ("GET", "/embeddings/jobs/nonsense", 404, "JOB_NOT_FOUND"),
    "odd job": ("GET", "/embeddings/jobs/%00", 422, "INVALID_TEXT"),
    "invalid UTF-8": ("GET", "/embeddings/jobs/%ff", 422, "INVALID_TEXT"),
    "collection": ("GET", "/collections/a%20b", 404, "COLLECTION_NOT_FOUND"),
    "search": ("POST", "/vector_stores/nowhere/search", 404, "COLLECTION_NOT_FOUND"),
    "documents": ("GET", "/collections/nowhere/documents", 404, "COLLECTION_NOT_FOUND"),
    "document": ("GET", DOCUMENTS + "/nothing", 404, "DOCUMENT_NOT_FOUND"),
    "slash": ("PUT", DOCUMENTS + "/a%2Fb", 422, "INVALID_FORMAT"),
    "long": ("PUT", DOCUMENTS + "/" + "x" * 257, 422, "INVALID_FORMAT"),
    "schema": ("GET", "/schemas/embedpipe.chunk.v9.json", 404, "SCHEMA_NOT_FOUND"),
    "nowhere": ("GET", "/nowhere", 404, "ROUTE_NOT_FOUND"),
    "method": ("PATCH", JOBS, 405, "METHOD_NOT_ALLOWED"),
}


def a_client() -> Client:
    return Client({"MAX_CONTENT_BYTES": "1000", "MAX_METADATA_BYTES": "100"})


def assert_problem(answer: Any, status: int, code: str, field: str | None = None) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["title"] == CODES[code]
    assert answer.json["detail"]
    if field is not None:
        assert answer.json["field"] == field


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_a_bad_submission_leaves_no_row_and_no_message(case: str) -> None:
    fields, status, code, field = SUBMISSIONS[case]
    client = a_client()
    before = client.everything()

    answer = client.submit(**fields)

    assert_problem(answer, status, code, field)
    assert client.everything() == before


@pytest.mark.parametrize(
    "case",
    [case for case, bad in SUBMISSIONS.items() if bad[3] not in ("document_id", "collection")],
)
def test_a_bad_put_leaves_no_row_and_no_message(case: str) -> None:
    fields, status, code, field = SUBMISSIONS[case]
    client = a_client()
    before = client.everything()

    answer = client.send("PUT", DOCUMENTS + "/guide-1", {"content": "x"} | fields)

    assert_problem(answer, status, code, field)
    assert client.everything() == before


@pytest.mark.parametrize("case", RAW)
@pytest.mark.parametrize("path", [JOBS, SEARCH, COLLECTIONS])
def test_a_body_that_is_no_json_object_is_refused(path: str, case: str) -> None:
    raw, status, code = RAW[case]
    client = Client()
    before = client.everything()

    answer = client.send("POST", path, raw=raw)

    assert_problem(answer, status, code)
    assert client.everything() == before


def test_base64_that_is_none_is_refused() -> None:
    client = Client()
    event = {
        "path": "/api/v1/embeddings/jobs",
        "httpMethod": "POST",
        "headers": {"content-type": "application/json", "x-api-key": "an-administrators-key"},
        "requestContext": {},
        "body": "§",
        "isBase64Encoded": True,
    }

    answer = client.api.resolve(event, None)

    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"]
)
def test_another_media_type_is_refused(media_type: str) -> None:
    client = Client()

    answer = client.send("POST", JOBS, {"content": "x"}, Content_Type=media_type)

    assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type")


@pytest.mark.parametrize("case", SEARCHES)
def test_a_bad_search_is_refused(case: str) -> None:
    fields, status, code, field = SEARCHES[case]

    answer = a_client().send("POST", SEARCH, fields)

    assert_problem(answer, status, code, field)


@pytest.mark.parametrize("case", NEW_COLLECTIONS)
def test_a_bad_collection_is_refused(case: str) -> None:
    fields, status, code, field = NEW_COLLECTIONS[case]
    client = a_client()
    before = client.everything()

    answer = client.send("POST", COLLECTIONS, fields)

    assert_problem(answer, status, code, field)
    assert client.everything() == before


@pytest.mark.parametrize("case", QUERIES)
def test_a_bad_query_parameter_is_refused(case: str) -> None:
    query, code, field = QUERIES[case]

    answer = a_client().send("GET", JOBS, query=query)

    assert_problem(answer, 422, code, field)


@pytest.mark.parametrize("case", PATHS)
def test_a_bad_path_is_refused(case: str) -> None:
    method, path, status, code = PATHS[case]
    client = a_client()
    before = client.everything()
    body = None if method == "GET" else {"query" if "search" in path else "content": "x"}

    answer = client.send(method, path, body)

    assert_problem(answer, status, code)
    assert client.everything() == before


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "é", "a\nb"])
def test_a_bad_idempotency_key_is_refused(key: str) -> None:
    client = Client()
    before = client.everything()

    answer = client.send("POST", JOBS, {"content": "x"}, Idempotency_Key=key)

    assert_problem(answer, 422, "INVALID_IDEMPOTENCY_KEY", "Idempotency-Key")
    assert client.everything() == before


def test_all_bad_fields_are_named_at_once() -> None:
    answer = Client().submit(content="", priority="x", extra=1)

    assert answer.json["errors"] == [
        {"field": "content", "code": "EMPTY_CONTENT"},
        {"field": "priority", "code": "WRONG_TYPE"},
        {"field": "extra", "code": "UNKNOWN_FIELD"},
    ]


def test_a_limit_is_named() -> None:
    answer = a_client().submit(content="x" * 1001)

    assert "1000 bytes" in answer.json["detail"]


def test_a_value_is_never_echoed(lines: Lines) -> None:
    client = a_client()
    canary = "canary-4711"

    answers = [
        client.submit(content=canary * 200),
        client.submit(document_id=canary + "/"),
        client.submit(content_type=canary),
        client.submit(priority=canary, metadata={canary: canary}),
        client.submit(metadata={canary: "\0"}),
        client.send("POST", JOBS, raw='{"content": "' + canary),
        client.send("POST", SEARCH, {"query": canary, "top_k": canary}),
        client.send("GET", JOBS, key=canary),
        client.send("GET", JOBS, query=f"status={canary}&cursor={canary}"),
        client.send("GET", f"/embeddings/jobs/{canary}"),
        client.send("GET", f"/{canary}"),
    ]

    assert all(answer.status >= 400 for answer in answers)
    assert not [answer.body for answer in answers if canary in answer.body]
    assert len(lines()) == len(answers)
    assert canary not in json.dumps(lines())
