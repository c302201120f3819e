"""The API as a client sees it: REST proxy events to the deployed handler."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from embedpipe.local.errors import InvocationError, ThrottledError

from tests.chaos.processes import Function

BASE = "/api/v1"


@dataclass(frozen=True)
class Answer:
    """A status and what came with it; 0 when there was no answer."""

    status: int
    body: dict[str, Any]


class Api:
    """Calls one function; threads may share it."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def call(
        self,
        key: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make one request."""
        event = proxy_event(key, method, BASE + path, body, query or {}, headers or {})
        try:
            answer = self._function.invoke(event)
        except (InvocationError, ThrottledError):
            return Answer(0, {})
        try:
            said = json.loads(answer.get("body") or "{}")
        except ValueError:
            said = {}
        return Answer(int(answer["statusCode"]), said)


def proxy_event(
    key: str,
    method: str,
    path: str,
    body: Any,
    query: dict[str, str],
    headers: dict[str, str],
) -> dict[str, Any]:
    """Give a request the form of API Gateway's REST proxy event."""
    sent = {"X-API-KEY": key, "Content-Type": "application/json", **headers}
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": {"proxy": unquote(path.lstrip("/"))},
        "stageVariables": None,
        "requestContext": {
            "path": path,
            "stage": "live",
            "httpMethod": method,
            "identity": {"sourceIp": "127.0.0.1"},
            "requestId": "chaos",
            "resourcePath": "/{proxy+}",
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def segment(name: str) -> str:
    """Give a name the form that it has in a path."""
    return quote(name, safe="")
