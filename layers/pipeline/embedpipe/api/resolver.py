"""From a REST proxy event (payload version 1) to an operation, and back.

Powertools routes and builds the response. It does not validate: its validation coerces types,
answers no problem documents and fails on a body that is not UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError as UnroutedError
from pydantic import BaseModel

from embedpipe.api.auth import NOBODY, authenticate, authorize
from embedpipe.api.cors import Cors
from embedpipe.api.exchange import Exchange
from embedpipe.api.operations import BASE_PATH, Call, Operation, Reply
from embedpipe.api.path_ids import CHECKS
from embedpipe.api.problems import (
    MEDIA_TYPE,
    MethodNotAllowedError,
    RouteNotFoundError,
    headers_of,
    openai_problem,
    problem_of,
)
from embedpipe.api.reading import read_body, read_path, read_query
from embedpipe.api.requests import NoQuery
from embedpipe.api.services import Services
from embedpipe.api.table import OPERATIONS


class ApiResolver(APIGatewayRestResolver):
    """Serves the operations; one request at a time, as Lambda does."""

    def __init__(self, services: Callable[[], Services], cors: Callable[[], Cors]) -> None:
        super().__init__(debug=False)
        self._services = services
        self._read_cors = cors
        self._exchange = Exchange.of({})
        for operation in OPERATIONS:
            for path in operation.paths:
                rule = path.replace("{", "<").replace("}", ">")
                self.route(rule, operation.method)(self._handler(operation))
        self.exception_handler(Exception)(self._problem)

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}/*$") -> re.Pattern[str]:
        # Powertools allows few characters in a path parameter; an id may have any but a slash.
        literal = re.escape(rule) if "<" in rule else rule
        return re.compile(base_regex.format(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", literal)))

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer one event."""
        exchange = self._exchange = Exchange.of(event)
        cors = self._read_cors()
        if cors.is_preflight(event.get("httpMethod"), exchange.headers):
            answer = self._preflight(cors)
        else:
            answer = super().resolve(event, context)
        # Here and not with each answer: no error can be without.
        for name, value in cors.headers(exchange.headers).items():
            answer["multiValueHeaders"][name] = [value]
        exchange.end(answer["statusCode"])
        return answer

    def _preflight(self, cors: Cors) -> dict[str, Any]:
        exchange = self._exchange
        # On a path that there is not as well: the page is to read the 404.
        allowed = self._allowed(str(exchange.event.get("path"))) or {
            operation.method for operation in OPERATIONS
        }
        headers = exchange.answer_headers() | cors.preflight(exchange.headers, allowed)
        return {
            "statusCode": HTTPStatus.NO_CONTENT.value,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "body": "",
            "isBase64Encoded": False,
        }

    def _handler(self, operation: Operation) -> Callable[..., Response[str]]:
        def handle(**path: str) -> Response[str]:
            return self._response(operation, self._reply(operation, path))

        return handle

    def _reply(self, operation: Operation, path: Mapping[str, str]) -> Reply:
        exchange = self._exchange
        exchange.operation = operation
        services = self._services()
        principal = NOBODY
        if not operation.is_public:
            principal = authenticate(exchange.headers, services)
            exchange.tenant_id = principal.tenant_id
        if operation.is_for_admins:
            authorize(principal)
        base_path = exchange.prefix() + BASE_PATH
        call = Call(
            services,
            principal,
            exchange.headers,
            exchange.span.traceparent,
            base_path,
            exchange.request_id,
        )
        arguments = self._arguments(operation, path)
        exchange.job_id = arguments.get("job_id")
        reply = operation.handler(call, **arguments)
        exchange.job_id = exchange.job_id or getattr(reply.body, "job_id", None)
        return reply

    def _arguments(self, operation: Operation, path: Mapping[str, str]) -> dict[str, Any]:
        event, headers = self._exchange.event, self._exchange.headers
        arguments: dict[str, Any] = {}
        for name, value in read_path(path).items():
            CHECKS.get(name, lambda _: None)(value)
            arguments[name] = value
        query = read_query(event, operation.query)
        if operation.query is not NoQuery:
            arguments["query"] = query
        if operation.body is not None:
            limit = operation.max_body_bytes
            arguments["body"] = read_body(event, headers, operation.body, limit)
        return arguments

    def _response(self, operation: Operation, reply: Reply) -> Response[str]:
        for sentence in reply.warnings:
            self._exchange.warn(sentence)
        body = reply.body.model_dump_json() if isinstance(reply.body, BaseModel) else reply.body
        return Response(
            status_code=(reply.status or operation.status).value,
            content_type=None if body is None else reply.media_type,
            body=body,
            headers=self._exchange.answer_headers() | dict(reply.headers),
        )

    def _problem(self, error: Exception) -> Response[str]:
        if isinstance(error, UnroutedError):
            error = self._unrouted()
        problem = problem_of(error)
        operation = self._exchange.operation
        if operation is not None and operation.is_openai:
            problem = openai_problem(problem)
        self._exchange.code = problem.code
        if problem.code == "INTERNAL":
            self._exchange.failed(error)
        return Response(
            status_code=problem.status,
            content_type=MEDIA_TYPE,
            body=problem.model_dump_json(exclude_none=True),
            headers=self._exchange.answer_headers() | headers_of(error),
        )

    def _unrouted(self) -> Exception:
        allowed = sorted(self._allowed(self.current_event.path))
        return MethodNotAllowedError(allowed) if allowed else RouteNotFoundError()

    def _allowed(self, path: str) -> set[str]:
        routes = self._static_routes + self._dynamic_routes
        return {route.method for route in routes if route.rule.match(path)}


def build(services: Callable[[], Services], cors: Callable[[], Cors] = Cors) -> ApiResolver:
    """Give the API over services, which are asked for with the first request.

    Parameters
    ----------
    cors
        Asked before the services, and apart from them: where they fail, the answer is read, too.
    """
    return ApiResolver(services, cors)
