"""Health, schemas and documentation: everything that needs no API key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus

from embedpipe.api.answers import CheckResult, Health, Readiness
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.problems import RETRY_AFTER_S, UnhealthyError
from embedpipe.errors import NotFoundError, PipelineError
from embedpipe.messages import json_schemas

system = Noun("system")

SCHEMA_MEDIA_TYPE = "application/schema+json"
# The page is one file without scripts; nothing may be loaded from anywhere.
DOCS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


@system.get(
    "/embeddings/health",
    "Say whether requests can be served",
    answer=Health,
    errors=(HTTPStatus.SERVICE_UNAVAILABLE,),
    is_public=True,
)
def get_health(call: Call) -> Reply:
    """Ask the database, the chunk queue and the query embedder; 503 when one does not answer."""
    if not all(check.ok for check in _checks(call).values()):
        raise UnhealthyError
    return Reply(Health(status="ok"))


@system.get(
    "/embeddings/ready",
    "Say which parts answer",
    answer=Readiness,
    errors=(HTTPStatus.SERVICE_UNAVAILABLE,),
    is_public=True,
)
def get_readiness(call: Call) -> Reply:
    """Ask every part and name it; 503 with the same body when one does not answer."""
    checks = _checks(call)
    if all(check.ok for check in checks.values()):
        return Reply(Readiness(status="ready", checks=checks))
    return Reply(
        Readiness(status="unavailable", checks=checks),
        HTTPStatus.SERVICE_UNAVAILABLE,
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def _checks(call: Call) -> dict[str, CheckResult]:
    services = call.services
    parts = {"database": services.database.jobs.check, "chunk_queue": services.chunk_queue.check}
    if services.query_embedder is not None:
        parts["query_embedder"] = services.query_embedder.check
    return {name: _timed(check) for name, check in parts.items()}


def _timed(check: Callable[[], None]) -> CheckResult:
    started = time.perf_counter()
    code = None
    try:
        check()
    except PipelineError as exc:
        code = exc.code
    ms = round((time.perf_counter() - started) * 1000, 1)
    return CheckResult(ok=code is None, ms=ms, code=code)


@system.get(
    "/schemas/{name}.json",
    "Read the JSON Schema of a queue message",
    is_public=True,
    media_type=SCHEMA_MEDIA_TYPE,
)
def get_message_schema(call: Call, name: str) -> Reply:
    """Give the schema that a message's `schema_url` points to."""
    schema = json_schemas().get(name)
    if schema is None:
        raise NotFoundError("There is no such schema.", code="SCHEMA_NOT_FOUND", field="name")
    return Reply(
        json.dumps(schema),
        headers={"Cache-Control": "public, max-age=3600"},
        media_type=SCHEMA_MEDIA_TYPE,
    )


@system.get("/openapi.json", "Read this description", is_public=True)
def get_openapi(call: Call) -> Reply:
    """Give the OpenAPI 3.1 document."""
    from embedpipe.api.openapi import document_json

    return Reply(document_json())


@system.get("/docs", "Browse this description", is_public=True, media_type="text/html")
def get_docs(call: Call) -> Reply:
    """Give a page made of the OpenAPI document."""
    from embedpipe.api.docs_page import page
    from embedpipe.api.openapi import document

    return Reply(
        page(document()),
        headers={"Content-Security-Policy": DOCS_POLICY},
        media_type="text/html; charset=utf-8",
    )
