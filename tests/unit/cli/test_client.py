from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from embedpipe.cli.client import DEFAULT_URL, ApiError, UnreachableError, find_key, find_url
from embedpipe.local.directory import DataDirectory

from tests.unit.cli.fake_api import FakeApi, problem


def test_a_busy_api_is_asked_again_when_it_says() -> None:
    api = FakeApi(
        problem(429, "OVERLOADED", **{"Retry-After": "7"}),
        problem(503, "STORE_UNAVAILABLE", **{"Retry-After": "2"}),
    )

    job = api.client().submit({"document_id": "a"}, "key-1")

    assert job["status"] == "queued"
    assert api.slept == [7.0, 2.0]
    assert {r.headers["idempotency-key"] for r in api.requests} == {"key-1"}


def test_patience_ends() -> None:
    busy = [problem(429, "OVERLOADED", **{"Retry-After": "40"}) for _ in range(9)]

    with pytest.raises(ApiError) as caught:
        FakeApi(*busy).client(patience_s=100).submit({"document_id": "a"}, "k")

    assert caught.value.code == "OVERLOADED"


def test_a_broken_connection_is_tried_again_only_where_that_is_safe() -> None:
    broken = httpx.ReadError("gone")
    safe, unsafe = FakeApi(broken), FakeApi(broken)

    assert safe.client().submit({"document_id": "a"}, "k")["job_id"] == "job-0"
    with pytest.raises(UnreachableError):
        unsafe.client().search("default", {"query": "x"})


def test_an_absent_api_is_unreachable_at_once() -> None:
    api = FakeApi(httpx.ConnectError("refused"))

    with pytest.raises(UnreachableError, match="http://api"):
        list(api.client().jobs())

    assert api.slept == []


def test_an_answer_that_is_no_problem_document_is_an_error_too() -> None:
    with pytest.raises(ApiError) as caught:
        list(FakeApi(httpx.Response(502, text="<html>")).client().jobs())

    assert (caught.value.status, caught.value.code) == (502, "HTTP_502")


def test_the_url_is_given_or_set_or_that_of_the_running_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBEDPIPE_URL", raising=False)
    default = find_url(None, tmp_path)
    DataDirectory(tmp_path).write_endpoint({"url": "http://running"})
    running = find_url(None, tmp_path)
    monkeypatch.setenv("EMBEDPIPE_URL", "http://set")

    assert (default, running) == (DEFAULT_URL, "http://running")
    assert find_url(None, tmp_path) == "http://set"
    assert find_url("http://given", tmp_path) == "http://given"


def test_the_key_is_set_or_lies_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SINGLE_USER_API_KEY", raising=False)
    missing = find_key(tmp_path)
    (tmp_path / "api_key").write_text("stored\n")
    stored = find_key(tmp_path)
    monkeypatch.setenv("SINGLE_USER_API_KEY", "set")

    assert (missing, stored, find_key(tmp_path)) == (None, "stored", "set")
