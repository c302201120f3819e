"""A page in a browser calls the API: what the browser asks first, and what the page may read."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import APP

OTHER = "https://other.example.com"
JOBS = "/api/v1/embeddings/jobs"
LEAVE = "Access-Control-Allow-Origin"


def ask(cloud: Cloud, method: str, path: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, cloud.url + path, headers=named, trust_env=False)


def preflight(cloud: Cloud, origin: str) -> httpx.Response:
    return ask(cloud, "OPTIONS", JOBS, Origin=origin, Access_Control_Request_Method="POST")


def test_a_browser_is_told_who_may_call(cloud: Cloud) -> None:
    mine, other = preflight(cloud, APP), preflight(cloud, OTHER)

    assert (mine.status_code, mine.headers[LEAVE]) == (204, APP)
    assert "X-API-KEY" in mine.headers["Access-Control-Allow-Headers"]
    assert mine.headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert (other.status_code, other.headers.get(LEAVE)) == (405, None)


@pytest.mark.parametrize(("path", "status"), [(JOBS, 401), ("/nothing", 404), ("/a%0Ab", 404)])
def test_a_page_may_read_that_it_was_refused(cloud: Cloud, path: str, status: int) -> None:
    answer = ask(cloud, "GET", path, Origin=APP)

    assert (answer.status_code, answer.headers[LEAVE]) == (status, APP)
    assert answer.headers["Vary"] == "Origin"
    assert "X-Trace-Id" in answer.headers["Access-Control-Expose-Headers"]


def test_a_page_may_read_what_the_gateway_refuses(cloud: Cloud) -> None:
    answer = ask(cloud, "GET", JOBS, Origin=APP, X_Padding="x" * 12_000)

    assert (answer.status_code, answer.headers[LEAVE]) == (431, APP)


def test_an_origin_that_no_browser_sends_ends_the_start(tmp_path: Path) -> None:
    refused = Cloud(tmp_path, CORS_ALLOW_ORIGINS=f"{APP}/").run("up", "--port", "0")

    assert refused.returncode != 0
    assert f"CORS_ALLOW_ORIGINS: '{APP}/' is no origin" in refused.stderr
