"""The deployed API with a usage plan: who comes through to the function.

On LocalStack, as MiniStack asks for no key of API Gateway's.
"""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.targets import LOCALSTACK, ORIGIN, chosen
from tests.stacks.deployed import DeployedStack

FORBIDDEN = (403, '{"message":"Forbidden"}')
NOBODYS = "another-key-of-some-length"


@pytest.fixture(scope="module")
def planned(stack: DeployedStack) -> DeployedStack:
    """A stack whose API has a usage plan."""
    if chosen() != LOCALSTACK:
        pytest.skip("only LocalStack asks for keys of API Gateway's")
    return stack


def ask(stack: DeployedStack, method: str, path: str, key: str | None) -> httpx.Response:
    headers = {"X-API-KEY": key} if key else {}
    return httpx.request(method, stack.url + path, headers=headers, timeout=120, trust_env=False)


@pytest.mark.parametrize("key", [None, NOBODYS])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/v1/embeddings/models"),
        ("POST", "/api/v1/embeddings"),
        ("POST", "/api/v1/docs"),
        ("GET", "/nothing"),
    ],
)
def test_without_the_key_nothing_is_invoked(
    planned: DeployedStack, method: str, path: str, key: str | None
) -> None:
    answer = ask(planned, method, path, key)

    assert (answer.status_code, answer.text.replace(" ", "")) == FORBIDDEN


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1/embeddings/models", 200),
        ("POST", "/api/v1/embeddings", 415),
        ("GET", "/nothing/at/all", 404),
    ],
)
def test_with_the_key_every_path_comes_through(
    planned: DeployedStack, method: str, path: str, status: int
) -> None:
    answer = ask(planned, method, path, planned.api_key())

    assert (answer.status_code, "X-Trace-Id" in answer.headers) == (status, True)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/embeddings/health",
        "/api/v1/embeddings/ready",
        "/api/v1/docs",
        "/api/v1/openapi.json",
        "/api/v1/schemas/embedpipe.chunk.v1.json",
    ],
)
def test_what_is_public_needs_no_key(planned: DeployedStack, path: str) -> None:
    answer = ask(planned, "GET", path, None)

    assert (answer.status_code, "X-Trace-Id" in answer.headers) == (200, True)


@pytest.mark.parametrize("path", ["/api/v1/embeddings", "/"])
def test_a_preflight_needs_no_key(planned: DeployedStack, path: str) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    answer = httpx.options(planned.url + path, headers=asked, timeout=120, trust_env=False)

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
