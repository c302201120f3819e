"""Routes of the internal endpoint.

    POST /embed          {"model_id", "fingerprint", "inputs", "kind", "dimensions", "tenant_id",
                         "timeout_s"} -> {"model_id", "fingerprint", "provider", "dimensions",
                         "tokens": [n, ...], "vectors": base64 of float32, little-endian}
    GET  /models         {"models": [...]}: what can be computed, with what is loaded
    POST /models/warmup  {"provider", "model_id", "timeout_s"} -> the model's state, milliseconds
    GET  /health         200 while the worker works, else 503; with counters
    GET  /metrics        the counters for Prometheus

Errors are {"error": {"code", "message", "inputs": [{"index", "tokens"}]}}, with `Retry-After` where
it helps to come again. All but /health and /metrics want `Authorization: Bearer <token>` when a
token is configured.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from functools import partial

import anyio.to_thread
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from embedpipe.errors import PipelineError, TooLargeError, UnauthenticatedError
from embedpipe.worker.admission import BYTES_PER_BODY_BYTE, Memory
from embedpipe.worker.counters import Counters
from embedpipe.worker.prometheus import prometheus
from embedpipe.worker.replies import error_reply, invalid_reply
from embedpipe.worker.serving import Serving

#: Whether the worker works, and what /health says.
Status = tuple[bool, dict[str, object]]
Answer = Callable[[bytes, float], Response]
Handler = Callable[[Request], Awaitable[Response]]

MAX_BODY_BYTES = 8 * 1024 * 1024
#: Requests in work at once; each has a thread of its own, so that nobody waits unseen.
MAX_CONCURRENT = 64


class Routes:
    """Handlers of the routes."""

    def __init__(
        self,
        serving: Serving,
        status: Callable[[], Status],
        *,
        memory: Memory,
        token: str | None,
        counters: Counters,
    ) -> None:
        self._status = status
        self._counters = counters
        self._memory = memory
        self._token = token
        self._threads = anyio.CapacityLimiter(MAX_CONCURRENT)
        self.embed = self._counted(self._guarded(serving.embed))
        self.models = self._guarded(serving.models)
        self.warm_up = self._guarded(serving.warm_up)

    async def health(self, _: Request) -> Response:
        """Say whether the worker works."""
        is_healthy, details = self._status()
        return JSONResponse(details, status_code=200 if is_healthy else 503)

    async def metrics(self, _: Request) -> Response:
        """Give the counters for Prometheus."""
        return PlainTextResponse(
            prometheus(*self._status()), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    def _counted(self, handle: Handler) -> Handler:
        async def counted(request: Request) -> Response:
            with self._counters.request() as status:
                response = await handle(request)
                status.append(response.status_code)
                return response

        return counted

    def _guarded(self, answer: Answer) -> Handler:
        async def handle(request: Request) -> Response:
            arrived = time.monotonic()
            body = bytearray()
            try:
                self._authorize(request)
                await self._read(request, body)
                work = partial(_answered, answer, bytes(body), arrived)
                return await anyio.to_thread.run_sync(work, limiter=self._threads)
            except PipelineError as error:
                return error_reply(error)
            finally:
                self._memory.give_back(len(body) * BYTES_PER_BODY_BYTE)

        return handle

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if self._token is not None and not hmac.compare_digest(
            given, f"Bearer {self._token}".encode()
        ):
            raise UnauthenticatedError("the token is missing or wrong")

    async def _read(self, request: Request, body: bytearray) -> None:
        async for part in request.stream():
            if len(body) + len(part) > MAX_BODY_BYTES:
                raise TooLargeError(f"the body has more than {MAX_BODY_BYTES} bytes")
            self._memory.take(len(part) * BYTES_PER_BODY_BYTE)
            body += part


def make_app(
    serving: Serving,
    status: Callable[[], Status],
    *,
    token: str | None,
    memory: Memory | None = None,
    counters: Counters | None = None,
) -> Starlette:
    """Make the application."""
    routes = Routes(
        serving,
        status,
        memory=memory or Memory(),
        token=token,
        counters=counters or Counters(),
    )
    return Starlette(
        routes=[
            Route("/embed", routes.embed, methods=["POST"]),
            Route("/models", routes.models, methods=["GET"]),
            Route("/models/warmup", routes.warm_up, methods=["POST"]),
            Route("/health", routes.health),
            Route("/metrics", routes.metrics),
        ]
    )


def _answered(answer: Answer, body: bytes, arrived: float) -> Response:
    try:
        return answer(body, arrived)
    except ValidationError as error:
        return invalid_reply(error)
    except PipelineError as error:
        return error_reply(error)
