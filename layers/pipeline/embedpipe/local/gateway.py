"""What API Gateway does in front of a function: HTTP in, REST proxy event, HTTP out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from embedpipe.local.errors import InvocationError, ThrottledError
from embedpipe.local.proxy_event import proxy_event, response, size_bytes

logger = logging.getLogger(__name__)

# API Gateway's limit on a body, Lambda's on an event.
BODY_LIMIT_BYTES = 10_485_760
EVENT_LIMIT_BYTES = 6_291_456
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
        if size_bytes(event) > EVENT_LIMIT_BYTES:
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
