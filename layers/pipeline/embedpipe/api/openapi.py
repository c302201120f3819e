"""The OpenAPI 3.1 document, made from the operations. `python -m embedpipe.api.openapi`."""

from __future__ import annotations

import json
import sys
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from embedpipe.api.answers import Readiness
from embedpipe.api.auth import HEADER
from embedpipe.api.codes import CODES
from embedpipe.api.openapi_parameters import parameters
from embedpipe.api.operations import JSON, Operation
from embedpipe.api.problems import MEDIA_TYPE, Problem
from embedpipe.api.table import OPERATIONS

API_VERSION = "1.0.0"
REF = "#/components/schemas/{model}"

_ERRORS = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON in UTF-8; under `/embeddings` and "
    "`/embeddings/batch` also: a value is not allowed.",
    HTTPStatus.UNAUTHORIZED: "The API key is missing or wrong.",
    HTTPStatus.FORBIDDEN: "The API key is not an administrator's.",
    HTTPStatus.NOT_FOUND: "There is no such resource, or it is another tenant's.",
    HTTPStatus.CONFLICT: "The state does not allow this.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body or a part of it is larger than its limit.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not declared as application/json.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A value is not allowed; `field` and `errors` name it.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The server failed.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A part that the request needs does not answer.",
}
_ERROR_HEADERS = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}
_EVERY_ANSWER = ("X-Trace-Id", "traceparent")
_HEADERS = {
    "X-Trace-Id": "Id of the trace.",
    "traceparent": "W3C trace context: the caller's trace or a new one, the span of the API.",
    "WWW-Authenticate": "How to authenticate.",
    "Retry-After": "Seconds to wait.",
    "X-Embeddings-Provider": "Who computed the vectors.",
    "X-Embeddings-Model": "Id of the model.",
    "Location": "Path of the job or collection.",
    "Idempotency-Replayed": "`true` when the key was seen before and nothing was admitted.",
}


@cache
def document() -> dict[str, Any]:
    """Give the OpenAPI document."""
    refs, schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _operation(operation, refs)
        for number, path in enumerate(operation.paths):
            own_id = {"operationId": operation.name + "_alias" * number}
            paths.setdefault(path, {})[operation.method.lower()] = described | own_id
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "embedpipe",
            "version": API_VERSION,
            "description": "Documents in, searchable vectors out. Every error is a problem "
            "document by RFC 9457 with a stable `code`.",
        },
        "servers": [{"url": "/"}],
        "security": [{"ApiKey": []}, {"Bearer": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(op.tag for op in OPERATIONS)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": _described(_HEADERS),
            "responses": {status.name: _error_response(status, refs) for status in _ERRORS},
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": HEADER},
                "Bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


@cache
def document_json() -> str:
    """Give the OpenAPI document as JSON."""
    return json.dumps(document(), indent=2) + "\n"


def _schemas() -> tuple[dict[tuple[type[BaseModel], str], dict[str, Any]], dict[str, Any]]:
    requests = {op.body for op in OPERATIONS if op.body}
    answers = {op.answer for op in OPERATIONS if op.answer} | {Problem, Readiness}
    answers |= {answer for op in OPERATIONS for answer in op.also.values()}
    wanted = [(model, "validation") for model in requests] + [
        (model, "serialization") for model in answers
    ]
    wanted.sort(key=lambda pair: pair[0].__name__)
    refs, definitions = models_json_schema(wanted, ref_template=REF)  # type: ignore[arg-type]
    schemas: dict[str, Any] = dict(sorted(definitions["$defs"].items()))
    schemas["Problem"]["properties"]["code"]["enum"] = sorted(CODES)
    return refs, schemas  # type: ignore[return-value]


def _operation(operation: Operation, refs: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": (operation.handler.__doc__ or "").strip(),
        "parameters": parameters(operation),
        "responses": _responses(operation, refs),
    }
    if operation.body is not None:
        schema = refs[operation.body, "validation"]
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    if operation.is_public:
        described["security"] = []
    return described


def _responses(operation: Operation, refs: Any) -> dict[str, Any]:
    success: dict[str, Any] = {
        "description": operation.status.phrase,
        "headers": _headers(*_EVERY_ANSWER, *operation.headers),
    }
    if operation.answer is not None:
        schema = refs[operation.answer, "serialization"]
        success["content"] = {JSON: {"schema": schema}}
    elif operation.status is not HTTPStatus.NO_CONTENT:
        success["content"] = {operation.media_type: {}}
    responses = {str(operation.status.value): success}
    for status, answer in operation.also.items():
        responses[str(status.value)] = {
            "description": status.phrase,
            "headers": _headers(*_EVERY_ANSWER, *operation.also_headers),
            "content": {JSON: {"schema": refs[answer, "serialization"]}},
        }
    for status in sorted(_error_statuses(operation)):
        responses[str(status.value)] = {"$ref": f"#/components/responses/{status.name}"}
    if operation.answer is Readiness:
        # The same body as with 200: which part does not answer.
        responses["503"] = success | {"description": _ERRORS[HTTPStatus.SERVICE_UNAVAILABLE]}
    return responses


def _error_response(status: HTTPStatus, refs: Any) -> dict[str, Any]:
    return {
        "description": _ERRORS[status],
        "headers": _headers(*_EVERY_ANSWER, *_ERROR_HEADERS.get(status, ())),
        "content": {MEDIA_TYPE: {"schema": refs[Problem, "serialization"]}},
    }


def _error_statuses(operation: Operation) -> set[HTTPStatus]:
    statuses = {
        HTTPStatus.BAD_REQUEST if operation.is_openai else HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        *operation.errors,
    }
    if not operation.is_public:
        statuses |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}
    if operation.is_for_admins:
        statuses.add(HTTPStatus.FORBIDDEN)
    if "{" in operation.path:
        statuses.add(HTTPStatus.NOT_FOUND)
    if operation.body is not None:
        statuses |= {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        }
    return statuses


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _described(headers: dict[str, str]) -> dict[str, Any]:
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }


if __name__ == "__main__":
    sys.stdout.write(document_json())
