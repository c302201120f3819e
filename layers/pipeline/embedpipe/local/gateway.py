"""What API Gateway does in front of a function: HTTP in, REST proxy event, HTTP out."""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from embedpipe.local.errors import InvocationError, ThrottledError
from embedpipe.local.template import ACCOUNT

logger = logging.getLogger(__name__)

# API Gateway's limit on a body, Lambda's on an event.
BODY_LIMIT_BYTES = 10_485_760
EVENT_LIMIT_BYTES = 6_291_456
STAGE = "live"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Throttling(Protocol):
    """A function with a limit on its concurrency."""

    max_concurrency: int

    def invoke(self, event: Any) -> Any:
        """Run it on one event."""
        ...


class Gateway:
    """An ASGI application that invokes one function for every request.

    Parameters
    ----------
    binary_media_types
        Content types whose bodies travel in base64; all others travel as text, and what is not
        UTF-8 in them is replaced, as API Gateway does.
    """

    def __init__(
        self,
        function: Throttling,
        *,
        binary_media_types: Sequence[str] = (),
        max_waiting: int = 64,
    ) -> None:
        self._function = function
        self._binary = list(binary_media_types)
        self._limit = function.max_concurrency + max_waiting
        self._in_flight = 0
        self._threads = ThreadPoolExecutor(function.max_concurrency, "gateway")
        self.app = Starlette(routes=[Route("/{path:path}", self._handle, methods=METHODS)])

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, request: Request) -> Response:
        if self._in_flight >= self._limit:
            return problem(429, "OVERLOADED", "Too many requests at once.", {"Retry-After": "1"})
        self._in_flight += 1
        try:
            return await self._serve(request)
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            self._in_flight -= 1

    async def _serve(self, request: Request) -> Response:
        body = await _read(request)
        if body is None:
            message = f"The body is larger than {BODY_LIMIT_BYTES} bytes."
            return problem(413, "TOO_LARGE", message, {"Connection": "close"})
        event = proxy_event(request, body, self._binary)
        if _size(event) > EVENT_LIMIT_BYTES:
            message = f"The request is larger than the {EVENT_LIMIT_BYTES} bytes of an event."
            return problem(413, "TOO_LARGE", message)
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._threads, self._function.invoke, event)
            return response(answer)
        except ThrottledError:
            return problem(503, "UNAVAILABLE", "The API is stopping.", {"Retry-After": "5"})
        except InvocationError as exc:
            logger.warning("api: %s", exc)
            if exc.error_type == "Sandbox.Timedout":
                return problem(504, "TIMEOUT", "The API did not answer in time.")
            return problem(502, "INTERNAL", "The API failed.")
        except (KeyError, TypeError, ValueError):
            logger.warning("api: the response is not a proxy response")
            return problem(502, "INTERNAL", "The API failed.")


async def _read(request: Request) -> bytes | None:
    """Read the body; None when it is over the limit."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_LIMIT_BYTES:
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT_BYTES:
            return None
    return bytes(body)


def proxy_event(request: Request, body: bytes, binary_media_types: Sequence[str]) -> dict[str, Any]:
    """Give a request the form of API Gateway's REST proxy event, payload version 1.0."""
    # As it was sent, percent-encoding kept; only the path parameters are decoded.
    path = request.scope["raw_path"].decode("latin-1").partition("?")[0]
    headers = _headers(request)
    query = parse_qsl(request.url.query, keep_blank_values=True)
    is_binary = _is_binary(request.headers.get("content-type", ""), binary_media_types)
    text = base64.b64encode(body).decode() if is_binary else body.decode("utf-8", "replace")
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


def _size(event: Any) -> int:
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


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Give an RFC 9457 problem for what never reached the function, or did not come back."""
    body = {
        "type": "about:blank",
        "title": detail,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return Response(json.dumps(body), status, headers, media_type="application/problem+json")
