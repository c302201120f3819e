"""The forms of API Gateway's Lambda proxy integration: request to event, answer to response."""

from __future__ import annotations

import base64
import fnmatch
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from embedpipe.local.template import ACCOUNT

STAGE = "live"


def proxy_event(request: Request, body: bytes, binary_media_types: Sequence[str]) -> dict[str, Any]:
    """Give a request the form of API Gateway's REST proxy event, payload version 1.0.

    Raises UnicodeDecodeError for a body that travels as text and is not UTF-8.
    """
    # As it was sent, percent-encoding kept; only the path parameters are decoded.
    path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
    headers = _headers(request)
    query = parse_qsl(request.url.query, keep_blank_values=True)
    is_binary = _is_binary(request.headers.get("content-type", ""), binary_media_types)
    text = base64.b64encode(body).decode() if is_binary else body.decode()
    return {
        "resource": "/{proxy+}" if path != "/" else "/",
        "path": path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": _grouped(query) or None,
        "pathParameters": {"proxy": unquote(path.lstrip("/"))} if path != "/" else None,
        "stageVariables": None,
        "requestContext": _context(request, path),
        "body": text if body else None,
        "isBase64Encoded": is_binary and bool(body),
    }


def _headers(request: Request) -> dict[str, list[str]]:
    headers = _grouped(
        [
            (name.decode("latin-1").title(), value.decode("latin-1"))
            for name, value in request.headers.raw
        ]
    )
    client = request.client.host if request.client else "127.0.0.1"
    headers.setdefault("X-Forwarded-For", []).append(client)
    headers["X-Forwarded-Proto"] = ["http"]
    headers.setdefault("X-Amzn-Trace-Id", [f"Root=1-{int(time.time()):08x}-{uuid4().hex[:24]}"])
    return headers


def _context(request: Request, path: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "accountId": ACCOUNT,
        "apiId": "local",
        "domainName": request.url.netloc,
        "extendedRequestId": uuid4().hex,
        "httpMethod": request.method,
        "identity": {
            "sourceIp": request.client.host if request.client else "127.0.0.1",
            "userAgent": request.headers.get("user-agent"),
        },
        "path": path,
        "protocol": "HTTP/1.1",
        "requestId": str(uuid4()),
        "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "requestTimeEpoch": int(now.timestamp() * 1000),
        "resourceId": "local",
        "resourcePath": "/{proxy+}" if path != "/" else "/",
        "stage": STAGE,
    }


def _is_binary(content_type: str, patterns: Sequence[str]) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return any(fnmatch.fnmatchcase(kind, pattern.lower()) for pattern in patterns)


def _grouped(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def size_bytes(event: Any) -> int:
    """Give the size of an event as Lambda counts it."""
    return len(json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def response(answer: Any) -> Response:
    """Give a proxy response the form of HTTP. Raises TypeError, KeyError or ValueError if bad."""
    text = answer.get("body") or "" if isinstance(answer, dict) else None
    if text is None:
        raise TypeError
    body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    made = Response(body, status_code=int(answer["statusCode"]))
    for name, value in (answer.get("headers") or {}).items():
        made.headers[name] = _text(value)
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        del made.headers[name]
        for value in values:
            made.headers.append(name, _text(value))
    made.headers["content-length"] = str(len(body))
    return made


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
