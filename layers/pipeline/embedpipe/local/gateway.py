"""What API Gateway does in front of a function: HTTP in, REST proxy event, HTTP out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from embedpipe.api.cors import Cors
from embedpipe.local.bodies import Bodies, BodyError
from embedpipe.local.errors import InvocationError, ThrottledError
from embedpipe.local.proxy_event import proxy_event, response, size_bytes

logger = logging.getLogger(__name__)

# API Gateway's limit on all headers together, Lambda's on an event.
HEADERS_LIMIT_BYTES = 10_240
EVENT_LIMIT_BYTES = 6_291_456
METRICS = frozenset({"/metrics", "/api/v1/metrics"})
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
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
    cors
        Who may call from a page in a browser; nobody unless it is given.
    binary_media_types
        Content types whose bodies travel in base64; all others travel as text. API Gateway replaces
        what is not UTF-8 in them; here it is refused, since a document must not change on its way.
    more_metrics
        Gives what to add to a page of metrics that the function gave, of the requests in work.
    """

    def __init__(
        self,
        function: Throttling,
        *,
        binary_media_types: Sequence[str] = (),
        max_waiting: int = 64,
        bodies: Bodies | None = None,
        cors: Cors | None = None,
        more_metrics: Callable[[int], str] | None = None,
    ) -> None:
        self._more_metrics = more_metrics
        self._function = function
        self._binary = list(binary_media_types)
        self._limit = function.max_concurrency + max_waiting
        self._in_flight = 0
        self._bodies = bodies or Bodies()
        self._cors = cors or Cors()
        self._threads = ThreadPoolExecutor(function.max_concurrency, "gateway")
        self.app = Starlette(
            routes=[Route("/{path:path}", self._handle, methods=METHODS)],
            exception_handlers={HTTPException: self._unrouted},
        )

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, request: Request) -> Response:
        answer = await self._answer(request)
        # The function's answers have them; those of this gateway are read by pages, too.
        asked = {name: request.headers.getlist(name) for name in request.headers}
        for name, value in self._cors.headers(asked).items():
            answer.headers.setdefault(name, value)
        return answer

    async def _answer(self, request: Request) -> Response:
        if sum(len(name) + len(value) for name, value in request.headers.raw) > HEADERS_LIMIT_BYTES:
            message = f"The headers are larger than {HEADERS_LIMIT_BYTES} bytes."
            return problem(431, "HEADERS_TOO_LARGE", message, {"Connection": "close"})
        try:
            # Before it counts as in flight: who sends slowly keeps nobody else out.
            body = await self._bodies.read(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except BodyError as exc:
            headers = {"Connection": "close"}
            if exc.retry_after_s:
                headers["Retry-After"] = str(exc.retry_after_s)
            return problem(exc.status, exc.code, exc.detail, headers)
        if self._in_flight >= self._limit:
            return problem(429, "OVERLOADED", "Too many requests at once.", {"Retry-After": "1"})
        self._in_flight += 1
        try:
            return await self._serve(request, body)
        finally:
            self._in_flight -= 1

    async def _unrouted(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            allow = {"Allow": ", ".join(METHODS)}
            return problem(405, "METHOD_NOT_ALLOWED", "The path does not take this method.", allow)
        # The route knows no path with a line break in it; the function answers that, too.
        return await self._handle(request)

    async def _serve(self, request: Request, body: bytes) -> Response:
        try:
            event = proxy_event(request, body, self._binary)
        except UnicodeDecodeError:
            return problem(400, "MALFORMED_REQUEST", "The body is not UTF-8.", field="body")
        if size_bytes(event) > EVENT_LIMIT_BYTES:
            message = f"The request is larger than the {EVENT_LIMIT_BYTES} bytes of an event."
            return problem(413, "TOO_LARGE", message)
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._threads, self._function.invoke, event)
            answered = response(answer)
            if request.url.path in METRICS and answered.status_code == 200 and self._more_metrics:
                # This request is in work too, and nobody wants to know.
                active = self._in_flight - 1
                more = await loop.run_in_executor(None, self._more_metrics, active)
                headers = {"Cache-Control": "no-store"}
                return Response(bytes(answered.body) + more.encode(), 200, headers, METRICS_TYPE)
            return answered
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


def problem(
    status: int,
    code: str,
    detail: str,
    headers: dict[str, str] | None = None,
    *,
    field: str | None = None,
) -> Response:
    """Give an RFC 9457 problem for what never reached the function, or did not come back."""
    body = {
        "type": "about:blank",
        "title": detail,
        "status": status,
        "detail": detail,
        "code": code,
    } | ({"field": field} if field else {})
    return Response(json.dumps(body), status, headers, media_type="application/problem+json")
