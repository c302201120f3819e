from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest
from embedpipe.api.cors import Cors
from embedpipe.local.errors import InvocationError, ThrottledError
from embedpipe.local.gateway import Gateway

from tests.unit.local.toys import FakeFunction

FINE = {"statusCode": 200, "body": "fine"}


def ask(function: FakeFunction, method: str, path: str, **options: Any) -> httpx.Response:
    """Send one request to a gateway before a function."""
    binary = options.pop("binary_media_types", [])
    gateway = Gateway(
        function,
        binary_media_types=binary,
        max_waiting=options.pop("waiting", 8),
        cors=options.pop("cors", None),
    )

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(gateway.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here:80") as client:
            return await client.request(method, path, **options)

    try:
        return asyncio.run(send())
    finally:
        gateway.close()


def test_a_request_becomes_a_proxy_event() -> None:
    function = FakeFunction(FINE)

    ask(
        function,
        "POST",
        "/api/v1/things?a=1&a=2&b=",
        content="{}",
        headers=[("X-API-KEY", "k"), ("Accept", "x"), ("Accept", "y")],
    )

    [event] = function.events
    assert (event["httpMethod"], event["path"]) == ("POST", "/api/v1/things")
    assert event["pathParameters"] == {"proxy": "api/v1/things"}
    assert event["queryStringParameters"] == {"a": "2", "b": ""}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": [""]}
    assert event["multiValueHeaders"]["Accept"] == ["x", "y"]
    assert event["headers"]["X-Api-Key"] == "k"
    assert (event["body"], event["isBase64Encoded"]) == ("{}", False)
    assert event["requestContext"]["stage"] == "live"
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"


def test_a_path_stays_encoded_and_its_parameters_do_not() -> None:
    function = FakeFunction(FINE)

    ask(function, "GET", "/api/v1/100%25%20caf%C3%A9?x=%2F")

    [event] = function.events
    assert event["path"] == "/api/v1/100%25%20caf%C3%A9"
    assert event["pathParameters"] == {"proxy": "api/v1/100% café"}
    assert event["queryStringParameters"] == {"x": "/"}


def test_a_line_break_in_a_path_reaches_the_function() -> None:
    function = FakeFunction(FINE)

    ask(function, "GET", "/api/v1/things/a%0Ab")

    assert function.events[0]["path"] == "/api/v1/things/a%0Ab"


def test_text_that_is_not_utf_8_is_refused_and_not_changed() -> None:
    function = FakeFunction(FINE)

    got = ask(
        function, "POST", "/", content=b"caf\xe9", headers={"content-type": "application/json"}
    )

    assert got.status_code == 400
    assert (got.json()["code"], got.json()["field"]) == ("MALFORMED_REQUEST", "body")
    assert function.events == []


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "ODD"])
def test_an_odd_method_is_answered_with_a_problem(method: str) -> None:
    got = ask(FakeFunction(FINE), method, "/api/v1/things")

    assert (got.status_code, got.json()["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert got.headers["content-type"] == "application/problem+json"
    assert "POST" in got.headers["allow"]


def test_headers_above_api_gateways_limit_are_refused() -> None:
    function = FakeFunction(FINE)

    got = ask(function, "GET", "/", headers={"X-Large": "x" * 10_240})

    assert (got.status_code, got.json()["code"]) == (431, "HEADERS_TOO_LARGE")
    assert function.events == []


def test_a_binary_media_type_travels_in_base64() -> None:
    function = FakeFunction(FINE)

    ask(
        function,
        "POST",
        "/",
        content=b"\x89PNG",
        headers={"content-type": "image/png"},
        binary_media_types=["image/*"],
    )

    assert base64.b64decode(function.events[0]["body"]) == b"\x89PNG"
    assert function.events[0]["isBase64Encoded"] is True


def test_a_proxy_response_becomes_a_response() -> None:
    answer = {
        "statusCode": 202,
        "headers": {"Location": "/there", "Content-Type": "application/json"},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": base64.b64encode(b"\0\1").decode(),
        "isBase64Encoded": True,
    }

    got = ask(FakeFunction(answer), "GET", "/")

    assert (got.status_code, got.content) == (202, b"\0\1")
    assert got.headers["location"] == "/there"
    assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (InvocationError("ValueError", "no"), 502, "INTERNAL"),
        (InvocationError("Sandbox.Timedout", "late"), 504, "TIMEOUT"),
        (ThrottledError(), 503, "UNAVAILABLE"),
        ({"body": "no status"}, 502, "INTERNAL"),
        (None, 502, "INTERNAL"),
        ("text", 502, "INTERNAL"),
    ],
)
def test_a_function_that_does_not_answer_is_a_problem(answer: Any, status: int, code: str) -> None:
    got = ask(FakeFunction(answer), "GET", "/")

    assert (got.status_code, got.json()["code"]) == (status, code)
    assert got.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("size", [6_291_456, 10_485_761])
def test_a_body_over_a_limit_never_reaches_the_function(size: int) -> None:
    function = FakeFunction()

    got = ask(function, "POST", "/", content=b"x" * size)

    assert (got.status_code, got.json()["code"]) == (413, "TOO_LARGE")
    assert function.events == []


def test_requests_over_the_bound_are_throttled() -> None:
    got = ask(FakeFunction(FINE), "GET", "/", waiting=-1)

    assert (got.status_code, got.headers["retry-after"]) == (429, "1")


# ----------------------------------------------------------------------- calls from pages elsewhere

APP = "https://app.example.com"
LEAVE = "Access-Control-Allow-Origin"


def test_a_page_may_read_what_the_gateway_answers_by_itself() -> None:
    cors, error = Cors.of(APP), InvocationError("Sandbox.Timedout", "")

    answers = [
        ask(FakeFunction(error), "GET", "/", cors=cors, headers={"Origin": origin})
        for origin in (APP, "https://other.example.com")
    ]

    assert [answer.status_code for answer in answers] == [504, 504]
    assert [answer.headers.get(LEAVE) for answer in answers] == [APP, None]
    assert [answer.headers["Vary"] for answer in answers] == ["Origin", "Origin"]


def test_of_two_origins_none_is_let_read() -> None:
    both = [("Origin", "https://other.example.com"), ("Origin", APP)]

    answer = ask(FakeFunction(FINE), "GET", "/", cors=Cors.of(APP), headers=both)

    assert (answer.headers.get(LEAVE), answer.headers["Vary"]) == (None, "Origin")


def test_what_the_function_says_of_pages_is_left_as_it_is() -> None:
    said = {"statusCode": 204, "multiValueHeaders": {LEAVE: ["*"], "Vary": ["Accept"]}}

    answer = ask(FakeFunction(said), "OPTIONS", "/", cors=Cors.of(APP), headers={"Origin": APP})

    assert (answer.headers[LEAVE], answer.headers["Vary"]) == ("*", "Accept")
