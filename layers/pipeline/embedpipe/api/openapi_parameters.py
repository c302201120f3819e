"""Parameters of an operation, as OpenAPI describes them."""

from __future__ import annotations

import re
from typing import Any

from embedpipe.api.fields import COLLECTION_PATTERN, DOCUMENT_ID_PATTERN
from embedpipe.api.operations import Operation

_PATH_SCHEMAS: dict[str, dict[str, Any]] = {
    "job_id": {"type": "string", "format": "uuid"},
    "collection": {"type": "string", "pattern": COLLECTION_PATTERN},
    "document_id": {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "pattern": DOCUMENT_ID_PATTERN,
    },
    "provider": {"type": "string", "examples": ["openai"]},
    "name": {"type": "string", "examples": ["embedpipe.chunk.v1"]},
}
_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request gives the first answer again; with another "
    "request 409.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[ -~]*[!-~][ -~]*$",
    },
}


def parameters(operation: Operation) -> list[dict[str, Any]]:
    """Give the parameters in the path, the query and the header."""
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    in_query = [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in operation.query.model_json_schema().get("properties", {}).items()
    ]
    in_header = [_IDEMPOTENCY_KEY] if operation.is_idempotent_by_key else []
    return in_path + in_query + in_header


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave null out: a parameter is absent, never null."""
    if "anyOf" not in schema:
        return schema
    [given] = [option for option in schema["anyOf"] if option != {"type": "null"}]
    return {"title": schema["title"], **given}
