"""Operations: what the API can do, declared once for routing, reading, checking and OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel

from embedpipe.api.reading import Headers
from embedpipe.api.requests import NoQuery
from embedpipe.api.services import Services
from embedpipe.domain.audit import Act, Actor
from embedpipe.ports import Principal

BASE_PATH = "/api/v1"
JSON = "application/json"
KIB = 1024
#: What Lambda takes in one synchronous invocation, and so the largest body that can arrive.
MAX_BODY_BYTES = 6 * KIB * KIB


@dataclass(frozen=True)
class Call:
    """One request, its caller known.

    `base_path` is the API's as the caller sees it, the gateway's stage included. `request_id` is
    the gateway's.
    """

    services: Services
    principal: Principal
    headers: Headers
    traceparent: str
    base_path: str = BASE_PATH
    request_id: str | None = None

    @property
    def tenant_id(self) -> str:
        """The caller's tenant; empty, and so without any row, for public operations."""
        return self.principal.tenant_id

    def act(self, action: str, subject: str, note: str = "") -> Act:
        """Give an administrative act of the caller, to be written down."""
        return Act(Actor(self.tenant_id, self.principal.key_id), action, subject, note)


@dataclass(frozen=True)
class Reply:
    """What an operation answers: a model, or text of another media type, or nothing."""

    body: BaseModel | str | None = None
    status: HTTPStatus | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON
    warnings: tuple[str, ...] = ()


Handler = Callable[..., Reply]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True)
class Operation:
    """One method on one path.

    Attributes
    ----------
    path
        Below `/api/v1`, with `{name}` for path parameters, which are keyword arguments of
        `handler`; a body comes as `body`, query parameters as `query`.
    also
        Statuses of success beside `status`, each with what it answers; `also_headers` are theirs.
    errors
        Statuses that it may answer beyond those that follow from the rest.
    is_public
        True when no API key is asked for.
    is_for_admins
        True when the key must be an administrator's.
    aliases
        Whole paths beside `/api/v1` + `path`.
    is_openai
        True when errors have the form that OpenAI's clients read, and what is not allowed is 400.
    """

    tag: str
    method: str
    path: str
    summary: str
    handler: Handler
    answer: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    query: type[BaseModel] = NoQuery
    status: HTTPStatus = HTTPStatus.OK
    also: Mapping[HTTPStatus, type[BaseModel]] = field(default_factory=dict)
    errors: tuple[HTTPStatus, ...] = ()
    headers: tuple[str, ...] = ()
    also_headers: tuple[str, ...] = ()
    is_public: bool = False
    is_for_admins: bool = False
    is_idempotent_by_key: bool = False
    is_openai: bool = False
    aliases: tuple[str, ...] = ()
    max_body_bytes: int = KIB * KIB
    media_type: str = JSON

    @property
    def paths(self) -> tuple[str, ...]:
        """All whole paths."""
        return (BASE_PATH + self.path, *self.aliases)

    @property
    def name(self) -> str:
        """The operation's id: the handler's name."""
        return self.handler.__name__


class Noun:
    """The operations of one noun, collected by decorating their handlers."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.operations: list[Operation] = []

    def get(self, path: str, summary: str, **options: Any) -> Callable[[H], H]:
        """Declare a GET."""
        return self._declare("GET", path, summary, options)

    def post(self, path: str, summary: str, **options: Any) -> Callable[[H], H]:
        """Declare a POST."""
        return self._declare("POST", path, summary, options)

    def put(self, path: str, summary: str, **options: Any) -> Callable[[H], H]:
        """Declare a PUT."""
        return self._declare("PUT", path, summary, options)

    def delete(self, path: str, summary: str, **options: Any) -> Callable[[H], H]:
        """Declare a DELETE."""
        return self._declare("DELETE", path, summary, options)

    def _declare(
        self, method: str, path: str, summary: str, options: dict[str, Any]
    ) -> Callable[[H], H]:
        def register(handler: H) -> H:
            self.operations.append(Operation(self.tag, method, path, summary, handler, **options))
            return handler

        return register
