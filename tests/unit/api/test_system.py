from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from embedpipe.errors import StoreUnavailableError
from embedpipe.messages import SCHEMAS

from tests.unit.api.client import ADMIN_KEY, BASE, Client, an_event
from tests.unit.api.conftest import Lines


def test_health_is_ok_when_every_part_answers() -> None:
    answer = Client().send("GET", "/embeddings/health", key=None)

    assert (answer.status, answer.json) == (200, {"status": "ok"})


def test_readiness_names_the_parts() -> None:
    answer = Client().send("GET", "/embeddings/ready", key=None)

    assert (answer.status, answer.json["status"]) == (200, "ready")
    assert set(answer.json["checks"]) == {"database", "chunk_queue", "query_embedder"}
    assert all(check["ok"] and check["ms"] >= 0 for check in answer.json["checks"].values())


def test_a_part_that_does_not_answer_is_unhealthy_and_named() -> None:
    client = Client()
    client.queue.is_available = False

    health = client.send("GET", "/embeddings/health", key=None)
    ready = client.send("GET", "/embeddings/ready", key=None)

    assert (health.status, health.json["code"]) == (503, "UNHEALTHY")
    assert health.headers["Content-Type"] == "application/problem+json"
    assert (ready.status, ready.json["status"]) == (503, "unavailable")
    assert ready.json["checks"]["database"]["ok"] is True
    assert ready.json["checks"]["chunk_queue"]["code"] == "QUEUE_UNAVAILABLE"
    assert health.headers["Retry-After"] == ready.headers["Retry-After"] == "5"


def test_the_embedder_is_no_part_where_there_is_none() -> None:
    client = Client()
    client.services = replace(client.services, query_embedder=None)

    answer = client.send("GET", "/embeddings/ready", key=None)

    assert answer.status == 200
    assert "query_embedder" not in answer.json["checks"]


def test_every_message_schema_is_where_messages_say() -> None:
    client = Client()

    for name, model in SCHEMAS.items():
        url = model.model_fields["schema_url"].default
        answer = client.send("GET", url.removeprefix(BASE), key=None)

        assert (answer.status, answer.json["$id"]) == (200, url)
        assert answer.headers["Content-Type"] == "application/schema+json"
        assert answer.json["properties"]["msg_schema"]["const"] == name


def test_the_docs_page_lists_every_operation_and_loads_nothing() -> None:
    client = Client()

    page = client.send("GET", "/docs", key=None)
    document = client.send("GET", "/openapi.json", key=None).json

    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path, item in document["paths"].items():
        for operation in item.values():
            assert path in page.body
            assert f'id="{operation["operationId"]}"' in page.body
    assert not re.search(r"<script|src=|https?://", page.body)
    targets = set(re.findall(r'href="#([^"]+)"', page.body))
    assert targets <= set(re.findall(r'id="([^"]+)"', page.body))


def test_a_failure_says_nothing_and_is_logged_with_its_place(lines: Lines) -> None:
    client = Client()

    def broken(*_: object) -> None:
        raise RuntimeError("secret-4711")

    client.database.jobs.get = broken  # type: ignore[method-assign, assignment]
    path = "/embeddings/jobs/00000000-0000-0000-0000-000000000000"

    answer = client.send("GET", path)

    assert (answer.status, answer.json["code"]) == (500, "INTERNAL")
    assert answer.headers["Content-Type"] == "application/problem+json"
    [error, served] = lines()
    assert "secret-4711" not in answer.body + error["message"]
    assert (error["level"], error["error_type"]) == ("ERROR", "RuntimeError")
    assert any("broken" in frame for frame in error["stack"])
    assert (served["status"], served["route"]) == (500, "/embeddings/jobs/{job_id}")


def test_services_that_cannot_be_built_fail_the_request_only() -> None:
    client = Client()
    del client.services

    answer = client.send("GET", "/embeddings/jobs")

    assert (answer.status, answer.json["code"]) == (500, "INTERNAL")


def test_an_outage_of_the_database_asks_to_come_again() -> None:
    client = Client()

    def down(*_: object) -> None:
        raise StoreUnavailableError(retry_after_s=1.5)

    client.database.collections.get = down  # type: ignore[method-assign, assignment]

    answer = client.submit()

    assert (answer.status, answer.json["code"]) == (503, "STORE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "2"


def test_another_method_is_told_which_ones_there_are() -> None:
    answer = Client().send("PATCH", "/embeddings/jobs", key=None)

    assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


def test_a_trailing_slash_is_the_same_path() -> None:
    assert Client().send("GET", "/collections/").status == 200


def test_every_request_is_logged_once_without_its_content(lines: Lines) -> None:
    client = Client()

    client.submit(content="canary-4711", document_id="canary-4712", metadata={"canary-4713": 1})

    [line] = lines()
    assert "canary" not in json.dumps(line)
    assert line["message"] == "request served"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/embeddings/jobs", 202)
    assert (line["tenant"], line["request_id"]) == ("default", "request-1")
    assert line["ms"] >= 0


@pytest.mark.parametrize(
    ("context", "prefix"),
    [
        ({"stage": "live", "path": "/live/api/v1/collections"}, "/live"),
        ({"stage": "live", "path": "/api/v1/collections"}, ""),
        ({"stage": "api", "path": "/api2/api/v1/collections"}, ""),
        ({}, ""),
    ],
)
def test_a_location_has_the_stage_that_the_caller_used(
    context: dict[str, str], prefix: str
) -> None:
    headers: dict[str, str | list[str]] = {
        "X-API-KEY": ADMIN_KEY,
        "Content-Type": "application/json",
    }
    event = an_event("POST", BASE + "/collections", headers=headers, body='{"collection": "x"}')

    answer = Client().api.resolve(event | {"requestContext": context}, None)

    assert answer["multiValueHeaders"]["Location"] == [f"{prefix}/api/v1/collections/x"]
