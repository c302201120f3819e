"""The API as a WSGI application: each request becomes the event that a gateway makes of it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from embedpipe.api.resolver import ApiResolver

from tests.unit.api.client import an_event

StartResponse = Callable[[str, list[tuple[str, str]]], object]


def as_wsgi(api: ApiResolver) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """Make a WSGI application of the resolver."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        answer = api.resolve(_event(environ), None)
        headers = {
            **{name: [value] for name, value in (answer.get("headers") or {}).items()},
            **(answer.get("multiValueHeaders") or {}),
        }
        body = answer.get("body") or ""
        data = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
        status = HTTPStatus(answer["statusCode"])
        start_response(
            f"{status.value} {status.phrase}",
            [(name, value) for name, values in headers.items() for value in values],
        )
        return [data]

    return application


def _event(environ: dict[str, Any]) -> dict[str, Any]:
    headers: dict[str, str | list[str]] = {
        name.removeprefix("HTTP_").replace("_", "-").title(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name == "CONTENT_TYPE" and value)
    }
    length = int(environ.get("CONTENT_LENGTH") or 0)
    data: bytes = environ["wsgi.input"].read(length) if length else b""
    # A gateway gives the path as it was sent; WSGI has decoded it, as if it were Latin-1.
    path = quote(environ["PATH_INFO"].encode("latin-1"), safe="/:@!$&'()*+,;=~-._")
    body: str | bytes | None
    try:
        body = data.decode() or None
    except UnicodeDecodeError:
        body = data
    return an_event(
        environ["REQUEST_METHOD"],
        path,
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        body=body,
    )
