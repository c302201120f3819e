"""Errors as RFC 9457 problem details; the one table from error class to HTTP status."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from embedpipe.api.codes import CODES
from embedpipe.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    MalformedRequestError,
    NotFoundError,
    OverloadedError,
    PipelineError,
    RejectedInputsError,
    RequestError,
    TooLargeError,
    TransientError,
    UnauthenticatedError,
    UnsupportedMediaError,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
MAX_ERRORS = 20


class RouteNotFoundError(NotFoundError):
    """There is no such path."""

    code = "ROUTE_NOT_FOUND"


class MethodNotAllowedError(RequestError):
    """The path does not take this method."""

    code = "METHOD_NOT_ALLOWED"

    def __init__(self, allowed: list[str]) -> None:
        super().__init__()
        self.allowed = allowed


class UnhealthyError(TransientError):
    """A part that requests need does not answer."""

    code = "UNHEALTHY"


class InvalidFieldsError(InvalidInputError):
    """The request has values that are not allowed; the first one gives the code."""

    def __init__(self, fields: list[FieldProblem]) -> None:
        first = fields[0]
        super().__init__(CODES.get(first.code), code=first.code, field=first.field)
        self.fields = fields


class FieldProblem(BaseModel):
    """What is wrong with one field. Never its value."""

    field: str
    code: str


class InputProblem(BaseModel):
    """An input that cannot be computed; `tokens` where it has too many of them."""

    index: int
    tokens: int | None = None


class OpenAIError(BaseModel):
    """The same once more, in the form that OpenAI's clients show."""

    message: str
    type: str
    param: str | None = None
    code: str
    inputs: list[InputProblem] | None = None


class Problem(BaseModel):
    """An error, by RFC 9457. `code` is stable; `detail` is for people and may change."""

    type: str = Field(json_schema_extra={"format": "uri-reference"})
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str
    field: str | None = None
    errors: list[FieldProblem] | None = None
    inputs: list[InputProblem] | None = None
    error: OpenAIError | None = None


STATUSES: dict[type[BaseException], HTTPStatus] = {
    InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    MalformedRequestError: HTTPStatus.BAD_REQUEST,
    UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    MethodNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
    ConflictError: HTTPStatus.CONFLICT,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    OverloadedError: HTTPStatus.TOO_MANY_REQUESTS,
    RequestError: HTTPStatus.BAD_REQUEST,
    TransientError: HTTPStatus.SERVICE_UNAVAILABLE,
    BaseException: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def status_of(error: BaseException) -> HTTPStatus:
    """Give the HTTP status of an error by its nearest class in the table."""
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def problem_of(error: BaseException) -> Problem:
    """Describe an error. What is not the caller's or an outage says nothing about itself."""
    status = status_of(error)
    shown = isinstance(error, PipelineError) and status is not HTTPStatus.INTERNAL_SERVER_ERROR
    code = error.code if shown and isinstance(error, PipelineError) else "INTERNAL"
    return Problem(
        type=f"/api/v1/docs#{code}",
        title=CODES.get(code, status.phrase),
        status=status.value,
        detail=error.message if shown and isinstance(error, PipelineError) else CODES["INTERNAL"],
        code=code,
        field=getattr(error, "field", None) or _FIELDS.get(code),
        errors=error.fields if isinstance(error, InvalidFieldsError) else None,
        inputs=_inputs(error) if isinstance(error, RejectedInputsError) else None,
    )


def openai_problem(problem: Problem) -> Problem:
    """Give a problem the member that OpenAI's clients read, and their status for bad values."""
    status = 400 if problem.status == HTTPStatus.UNPROCESSABLE_ENTITY else problem.status
    error = OpenAIError(
        message=problem.detail,
        type=_OPENAI_TYPES.get(status, "server_error" if status >= 500 else _OPENAI_TYPES[400]),
        param=problem.field,
        code=problem.code.lower(),
        inputs=problem.inputs,
    )
    return problem.model_copy(update={"status": status, "error": error})


def _inputs(error: RejectedInputsError) -> list[InputProblem]:
    return [InputProblem.model_validate(one) for one in error.inputs]


_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


# Where the error comes from a port, which does not know what the request calls it.
_FIELDS = {
    "COLLECTION_NOT_FOUND": "collection",
    "COLLECTION_EXISTS": "collection",
    "DOCUMENT_NOT_FOUND": "document_id",
    "JOB_NOT_FOUND": "job_id",
    "JOB_FINAL": "job_id",
    "INVALID_CURSOR": "cursor",
    "DIMENSION_MISMATCH": "vector",
    "TEXT_TOO_LONG": "query",
    "IDEMPOTENCY_KEY_REUSED": "Idempotency-Key",
}


_CHALLENGES = 'ApiKey realm="embedpipe", header="X-API-KEY", Bearer realm="embedpipe"'


def headers_of(error: BaseException) -> dict[str, str]:
    """Give the headers that belong to an error."""
    match error:
        case UnauthenticatedError():
            return {"WWW-Authenticate": _CHALLENGES}
        case MethodNotAllowedError():
            return {"Allow": ", ".join(error.allowed)}
        case OverloadedError():
            return {"Retry-After": str(error.retry_after_s)}
        case TransientError():
            return {"Retry-After": str(math.ceil(error.retry_after_s or RETRY_AFTER_S))}
    return {}


_CODES_BY_TYPE = {
    "missing": "MISSING_FIELD",
    "extra_forbidden": "UNKNOWN_FIELD",
    "literal_error": "INVALID_CHOICE",
    "string_pattern_mismatch": "INVALID_FORMAT",
    "string_too_short": "TOO_SHORT",
    "too_short": "TOO_SHORT",
    "string_too_long": "TOO_LONG",
    "too_long": "TOO_LONG",
    "string_unicode": "INVALID_TEXT",
    "finite_number": "OUT_OF_RANGE",
    "greater_than": "OUT_OF_RANGE",
    "greater_than_equal": "OUT_OF_RANGE",
    "less_than": "OUT_OF_RANGE",
    "less_than_equal": "OUT_OF_RANGE",
}


def invalid_fields(error: ValidationError) -> InvalidFieldsError:
    """Translate pydantic's findings to stable codes, without a value of the caller's."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return InvalidFieldsError(
        [
            FieldProblem(field=field_name(e["loc"]), code=_code(e["type"]))
            for e in found[:MAX_ERRORS]
        ]
    )


def _code(kind: str) -> str:
    if kind in CODES:
        return kind
    return _CODES_BY_TYPE.get(kind, "WRONG_TYPE" if kind.endswith("_type") else "INVALID_INPUT")


def field_name(location: tuple[Any, ...]) -> str:
    """Give a field's dotted path, short and printable: unknown fields are named by the caller."""
    dotted = ".".join(str(part)[:64] for part in location) or "body"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in dotted[:128])
