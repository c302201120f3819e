"""Request bodies and parameters, from what the gateway hands over to checked values."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ValidationError

from embedpipe.api.problems import field_name, invalid_fields
from embedpipe.errors import (
    InvalidInputError,
    MalformedRequestError,
    TooLargeError,
    UnsupportedMediaError,
)

MAX_DEPTH = 10
MAX_INTEGER = 2**63 - 1
MAX_FLOAT = sys.float_info.max

Headers = Mapping[str, list[str]]
S = TypeVar("S", bound=BaseModel)
# Source: RFC 3986, section 3.3, pchar.
_SENT_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")


def headers_of_event(event: Mapping[str, Any]) -> dict[str, list[str]]:
    """Give all headers by lower-case name, every value of each."""
    multi = event.get("multiValueHeaders")
    if not multi:
        multi = {name: [value] for name, value in (event.get("headers") or {}).items()}
    headers: dict[str, list[str]] = {}
    for name, values in multi.items():
        headers.setdefault(name.lower(), []).extend(values or [])
    return headers


def single(headers: Headers, name: str) -> str | None:
    """Give the value of a header that may come once."""
    values = headers.get(name.lower(), [])
    if len(values) > 1:
        raise InvalidInputError(
            "The header is given more than once.", code="REPEATED_PARAMETER", field=name
        )
    return values[0] if values else None


def read_query(event: Mapping[str, Any], model: type[S]) -> S:
    """Read the query string into a model; no parameter may be unknown or repeated."""
    multi = event.get("multiValueQueryStringParameters")
    if not multi:
        single_values = event.get("queryStringParameters") or {}
        multi = {name: [value] for name, value in single_values.items()}
    for name, values in multi.items():
        if len(values) > 1:
            raise InvalidInputError(
                "The parameter is given more than once.",
                code="REPEATED_PARAMETER",
                field=field_name((name,)),
            )
    # An empty parameter counts as absent: `?status=&limit=10`.
    given = {name: values[0] for name, values in multi.items() if values and values[0] != ""}
    _check(given)
    return validate(model, given)


def read_path(path: Mapping[str, str]) -> dict[str, str]:
    """Percent-decode path parameters once.

    Some gateways hand them over as sent, others decoded: what no client may send raw in a path is
    decoded already.
    """
    decoded = {name: _decoded(name, value) for name, value in path.items()}
    _check(decoded)
    return decoded


def _decoded(name: str, value: str) -> str:
    if not _SENT_SEGMENT.fullmatch(value):
        return value
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise InvalidInputError("The path is not UTF-8.", code="INVALID_TEXT", field=name) from None


def read_body(event: Mapping[str, Any], headers: Headers, model: type[S], max_bytes: int) -> S:
    """Read a JSON body into a model.

    Raises
    ------
    UnsupportedMediaError, TooLargeError, MalformedRequestError, InvalidInputError
        With the field named where it is known, and never a value.
    """
    _check_media_type(headers)
    raw = _raw_body(event)
    if len(raw) > max_bytes:
        raise TooLargeError(
            f"The body is larger than {max_bytes} bytes.", code="BODY_TOO_LARGE", field="body"
        )
    value = _parsed(raw)
    _check(value)
    return validate(model, value)


def validate(model: type[S], value: Any) -> S:
    """Validate a value; what pydantic finds becomes a problem."""
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise invalid_fields(exc) from None


def _check_media_type(headers: Headers) -> None:
    media_type, _, parameters = (single(headers, "Content-Type") or "").lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if media_type.strip() != "application/json" or charset not in ("", "charset=utf-8"):
        raise UnsupportedMediaError(field="Content-Type")


def _raw_body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    try:
        if event.get("isBase64Encoded"):
            return base64.b64decode(body, validate=True)
        return str(body).encode()
    except (binascii.Error, ValueError):
        raise MalformedRequestError(field="body") from None


def _parsed(raw: bytes) -> Any:
    # RecursionError: nested deeper than the parser goes.
    try:
        return json.loads(raw.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise MalformedRequestError(field="body") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedRequestError(
            "A JSON object has the same key twice.", code="DUPLICATE_KEY", field="body"
        )
    return result


def _check(value: Any, field: str = "body", depth: int = 0) -> None:
    """Refuse, anywhere, what PostgreSQL cannot hold: NUL, lone surrogates, NaN; and deep nests."""
    if depth > MAX_DEPTH:
        raise InvalidInputError(
            f"Nested deeper than {MAX_DEPTH} levels.", code="TOO_DEEP", field=field
        )
    match value:
        case str():
            _check_text(value, field)
        case dict():
            for key, item in value.items():
                name = field_name((key,)) if depth == 0 else field
                _check_text(key, name)
                _check(item, name, depth + 1)
        case list():
            for item in value:
                _check(item, field, depth + 1)
        case float() | int():
            _check_number(value, field)


def _check_text(text: str, field: str) -> None:
    try:
        clean = "\0" not in text and (text.isascii() or bool(text.encode()))
    except UnicodeEncodeError:
        clean = False
    if not clean:
        raise InvalidInputError(
            "The text holds a NUL character or a lone surrogate.", code="INVALID_TEXT", field=field
        )


def _check_number(value: float, field: str) -> None:
    # NaN compares false with everything.
    largest = MAX_INTEGER if isinstance(value, int) else MAX_FLOAT
    if not -largest <= value <= largest:
        raise InvalidInputError("A number is out of range.", code="OUT_OF_RANGE", field=field)
