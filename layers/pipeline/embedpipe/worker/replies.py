"""Errors of the internal endpoint as responses."""

from __future__ import annotations

import math

from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from embedpipe.errors import (
    ConflictError,
    InvalidInputError,
    ModelFilesError,
    NotFoundError,
    PermanentError,
    PipelineError,
    RejectedInputsError,
    TooLargeError,
    TransientError,
    UnauthenticatedError,
)

_STATUSES: dict[type[PipelineError], int] = {
    InvalidInputError: 400,
    UnauthenticatedError: 401,
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    PermanentError: 422,
    TransientError: 503,
    ModelFilesError: 503,
    PipelineError: 500,
}


def error_reply(error: PipelineError) -> Response:
    """Give an error's response; `Retry-After` belongs to every 503."""
    status = next(_STATUSES[cls] for cls in type(error).__mro__ if cls in _STATUSES)
    headers = {}
    if status == 503:
        asked_s = getattr(error, "retry_after_s", None)
        headers["Retry-After"] = str(max(math.ceil(asked_s or 5.0), 1))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    described: dict[str, object] = {"code": error.code, "message": error.message}
    if isinstance(error, RejectedInputsError):
        described["inputs"] = error.inputs
    return JSONResponse({"error": described}, status_code=status, headers=headers)


def invalid_reply(error: ValidationError) -> Response:
    """Give the response to a body of another form, without a value of it."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)[:5]
    named = (
        f"{'.'.join(str(part)[:64] for part in problem['loc']) or 'body'}: {problem['type']}"
        for problem in problems
    )
    return error_reply(InvalidInputError("; ".join(named)))
