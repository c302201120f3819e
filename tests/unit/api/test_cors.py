"""Calls from pages in browsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from embedpipe import bootstrap
from embedpipe.api.cors import ALLOW_HEADERS, EXPOSE_HEADERS
from embedpipe.api.openapi import document
from embedpipe.api.resolver import build
from embedpipe.settings import ApiSettings
from pydantic import ValidationError

from tests.unit.api.client import QUEUE_URLS, Answer, Client, an_event

APP = "https://app.example.com"
OTHER = "https://other.example.com"
MODELS = "/embeddings/models"
JOBS = "/embeddings/jobs"


def a_client(origins: str = f"{APP},http://localhost:3000") -> Client:
    return Client({"CORS_ALLOW_ORIGINS": origins})


def preflight(
    client: Client, path: str = MODELS, *, origin: str = APP, method: str = "GET", **more: str
) -> Answer:
    asked = {"Access_Control_Request_Method": method, "Origin": origin} | more
    return client.send("OPTIONS", path, key=None, **asked)


def cors_headers(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-")}


# -------------------------------------------------------------------------------------- preflights


def test_a_preflight_is_answered_without_a_key() -> None:
    answer = preflight(a_client(), JOBS, method="POST")

    assert (answer.status, answer.body) == (204, "")
    assert cors_headers(answer) == {
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": ", ".join(ALLOW_HEADERS),
        "Access-Control-Max-Age": "7200",
        "Access-Control-Expose-Headers": ", ".join(EXPOSE_HEADERS),
    }
    assert answer.headers["Vary"] == "Origin"
    assert "X-Trace-Id" in answer.headers


@pytest.mark.parametrize(
    "path", sorted({path for path in document()["paths"] if path.startswith("/api/v1/")})
)
def test_a_preflight_names_the_methods_of_its_path(path: str) -> None:
    answer = preflight(a_client(), path.removeprefix("/api/v1"))

    methods = sorted(method.upper() for method in document()["paths"][path])
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Methods"] == ", ".join(methods)


def test_a_preflight_on_a_path_that_there_is_not_lets_the_page_read_the_404() -> None:
    client = a_client()

    asked = preflight(client, "/nothing", method="DELETE")
    answer = client.send("DELETE", "/nothing", Origin=APP)

    assert (asked.status, answer.status) == (204, 404)
    assert asked.headers["Access-Control-Allow-Methods"] == "DELETE, GET, POST, PUT"
    assert answer.headers["Access-Control-Allow-Origin"] == APP


@pytest.mark.parametrize("origin", [OTHER, "null", f"{APP}.evil.example", APP.upper(), f"{APP}/"])
def test_a_preflight_of_another_origin_is_refused(origin: str) -> None:
    answer = preflight(a_client(), origin=origin)

    assert (answer.status, cors_headers(answer)) == (405, {})
    assert answer.headers["Vary"] == "Origin"


def test_an_options_that_is_no_preflight_is_a_method_like_others() -> None:
    answer = a_client().send("OPTIONS", MODELS, Origin=APP)

    assert (answer.status, answer.json["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Access-Control-Allow-Origin"] == APP


def test_the_headers_of_openais_client_are_let_through_and_no_others() -> None:
    asked = "authorization, X-Stainless-Lang,x-stainless-retry-count, x-evil, x-stainless-a:b"

    answer = preflight(a_client(), Access_Control_Request_Headers=asked)

    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert allowed == [*ALLOW_HEADERS, "x-stainless-lang", "x-stainless-retry-count"]


def test_what_openais_client_sends_from_firefox_and_safari_is_let_through() -> None:
    sent = {"authorization", "content-type", "openai-organization", "openai-project", "user-agent"}

    answer = preflight(a_client(), Access_Control_Request_Headers=",".join(sorted(sent)))

    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert sent <= set(allowed)


# ---------------------------------------------------------------------------------------- answers


def test_an_answer_says_which_page_may_read_it_and_what() -> None:
    answer = a_client().send("GET", MODELS, Origin=APP)

    assert answer.status == 200
    assert cors_headers(answer) == {
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Expose-Headers": ", ".join(EXPOSE_HEADERS),
    }
    assert answer.headers["Vary"] == "Origin"


def test_every_header_of_the_api_may_be_read() -> None:
    assert set(document()["components"]["headers"]) <= set(EXPOSE_HEADERS)


@pytest.mark.parametrize("headers", [{}, {"Origin": OTHER}, {"Origin": [APP, APP]}])
def test_another_page_may_not_read_it(headers: dict[str, Any]) -> None:
    answer = a_client().send("GET", MODELS, **headers)

    assert (answer.status, cors_headers(answer)) == (200, {})
    assert answer.headers["Vary"] == "Origin"


def test_with_a_star_every_page_may_and_no_cookie_is_asked_for() -> None:
    client = a_client("*")

    asked = preflight(client, origin=OTHER)
    answers = [client.send("GET", MODELS, Origin=OTHER), client.send("GET", MODELS)]

    assert asked.status == 204
    for answer in (asked, *answers):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Vary" not in answer.headers


@pytest.mark.parametrize("origins", ["", " ,"])
def test_without_origins_nothing_is_said(origins: str) -> None:
    client = a_client(origins)

    asked, answer = preflight(client), client.send("GET", MODELS, Origin=APP)

    assert (asked.status, answer.status) == (405, 200)
    for one in (asked, answer):
        assert cors_headers(one) == {}
        assert "Vary" not in one.headers


def wrong_key(client: Client) -> Answer:
    return client.send("GET", MODELS, key="not-the-key-of-anybody", Origin=APP)


def no_such_path(client: Client) -> Answer:
    return client.send("GET", "/nothing", Origin=APP)


def no_such_method(client: Client) -> Answer:
    return client.send("DELETE", MODELS, Origin=APP)


def bad_body(client: Client) -> Answer:
    return client.send("POST", JOBS, raw="{", Origin=APP)


def bad_value(client: Client) -> Answer:
    return client.send("POST", JOBS, {"content": ""}, Origin=APP)


def outage(client: Client) -> Answer:
    client.models.is_available = False
    return client.send("GET", MODELS, Origin=APP)


@pytest.mark.parametrize(
    ("fail", "status"),
    [
        (wrong_key, 401),
        (no_such_path, 404),
        (no_such_method, 405),
        (bad_body, 400),
        (bad_value, 422),
        (outage, 503),
    ],
)
def test_a_page_may_read_every_error(fail: Callable[[Client], Answer], status: int) -> None:
    answer = fail(a_client())

    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == APP


def test_a_page_may_read_that_nothing_could_be_started() -> None:
    client = a_client()

    def broken() -> Any:
        raise RuntimeError

    client.api = build(broken, client.api._read_cors)

    answer = client.send("GET", MODELS, Origin=APP)

    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (500, APP)


# ---------------------------------------------------------------------------------------- setting


def test_a_bad_origin_ends_the_start_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = dict.fromkeys(QUEUE_URLS, "unused") | {
        "DATABASE_URL": "postgresql://user:a-password@host/db",
        "CONTENT_BUCKET": "unused",
        "CORS_ALLOW_ORIGINS": f"{APP}/",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    bootstrap.cors.cache_clear()

    with pytest.raises(ValidationError) as caught:
        build(bootstrap.api, bootstrap.cors).resolve(an_event("GET", "/api/v1/health"), None)

    said = str(caught.value)
    assert "CORS_ALLOW_ORIGINS" in said
    assert f"'{APP}/' is no origin" in said
    assert "a-password" not in said


def test_the_function_reads_the_setting() -> None:
    settings = ApiSettings.from_environment(
        dict.fromkeys(QUEUE_URLS, "unused")
        | {"DATABASE_URL": "unused", "CONTENT_BUCKET": "unused", "CORS_ALLOW_ORIGINS": APP}
    )

    assert settings.cors_allow_origins == APP
