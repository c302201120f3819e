"""Routes of the internal endpoint.

    POST /embed    {"texts": [...], "kind": "query" | "document", "fingerprint": "..."}
                   -> {"vectors": [[...]], "fingerprint": "..."}
    GET  /health   200 while the worker works, else 503; with counters
    GET  /metrics  the counters for Prometheus

/embed wants `Authorization: Bearer <token>` when a token is configured.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from embedpipe.errors import PipelineError
from embedpipe.worker.synchronous import EmbedTexts, SynchronousEmbeddings

#: Whether the worker works, and what /health says.
Status = tuple[bool, dict[str, object]]

_MAX_BODY_BYTES = 1_048_576
_STATUS = {
    "INVALID_INPUT": 400,
    "TEXT_TOO_LONG": 400,
    "UNAUTHENTICATED": 401,
    "MODEL_MISMATCH": 409,
    "TOO_LARGE": 413,
    "BAD_VECTOR": 422,
    "POISON_CHUNK": 422,
}


def make_app(
    embeddings: SynchronousEmbeddings, status: Callable[[], Status], *, token: str | None
) -> Starlette:
    """Make the application."""

    async def embed(request: Request) -> Response:
        if token is not None and not _is_authorized(request, token):
            return _error("UNAUTHENTICATED", "the token is missing or wrong")
        body = await _body(request)
        if body is None:
            return _error("TOO_LARGE", f"the body has more than {_MAX_BODY_BYTES} bytes")
        return await run_in_threadpool(_answer, embeddings, body)

    async def health(_: Request) -> Response:
        is_healthy, details = status()
        return JSONResponse(details, status_code=200 if is_healthy else 503)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(
            _prometheus(*status()), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return Starlette(
        routes=[
            Route("/embed", embed, methods=["POST"]),
            Route("/health", health),
            Route("/metrics", metrics),
        ]
    )


def _answer(embeddings: SynchronousEmbeddings, body: bytes) -> Response:
    try:
        asked = EmbedTexts.model_validate_json(body)
        vectors = embeddings.embed(asked)
    except ValidationError as error:
        return _error("INVALID_INPUT", _problems(error))
    except PipelineError as error:
        return _error(error.code, error.message)
    return JSONResponse({"vectors": vectors, "fingerprint": asked.fingerprint})


def _is_authorized(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "").encode()
    return hmac.compare_digest(given, f"Bearer {token}".encode())


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            return None
    return bytes(body)


def _error(code: str, message: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if code == "UNAUTHENTICATED" else None
    return JSONResponse(
        {"error": {"code": code, "message": message}},
        status_code=_STATUS.get(code, 503),
        headers=headers,
    )


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['type']}"
        for problem in error.errors(include_input=False, include_url=False)[:5]
    )


def _prometheus(is_healthy: bool, details: dict[str, object]) -> str:
    lines = ["# TYPE embedpipe_worker_healthy gauge", f"embedpipe_worker_healthy {is_healthy:d}"]
    for name in ("held_messages", "held_tokens"):
        lines += [
            f"# TYPE embedpipe_worker_{name} gauge",
            f"embedpipe_worker_{name} {details[name]}",
        ]
    counters = details["counters"]
    if isinstance(counters, dict):
        for name, count in counters.items():
            full = f"embedpipe_worker_{name.removesuffix('_s')}"
            full += "_seconds_total" if name.endswith("_s") else "_total"
            lines += [f"# TYPE {full} counter", f"{full} {count}"]
    return "\n".join(lines) + "\n"
