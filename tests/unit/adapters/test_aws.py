from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from embedpipe.adapters import aws


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ENDPOINT_URL", "LOCALSTACK_HOST", "USE_SSL", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    aws.forget_clients()
    yield
    aws.forget_clients()


def test_without_an_endpoint_it_is_aws() -> None:
    assert aws.client("sqs").meta.endpoint_url == "https://sqs.eu-central-1.amazonaws.com"


def test_an_endpoint_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4500")

    assert aws.client("sqs").meta.endpoint_url == "http://127.0.0.1:4500"
    config: Any = aws.client("s3").meta.config
    assert config.s3 == {"addressing_style": "path"}


@pytest.mark.parametrize(
    ("host", "ssl", "expected"),
    [
        ("127.0.0.1:4572", "", "http://127.0.0.1:4572"),
        ("localstack", "", "http://localstack:4566"),
        ("localhost:4566", "1", "https://localhost:4566"),
    ],
)
def test_the_variables_of_localstack_client_are_understood(
    monkeypatch: pytest.MonkeyPatch, host: str, ssl: str, expected: str
) -> None:
    monkeypatch.setenv("LOCALSTACK_HOST", host)
    monkeypatch.setenv("USE_SSL", ssl)

    assert aws.client("sqs").meta.endpoint_url == expected


def test_an_endpoint_wins_over_localstack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4500")
    monkeypatch.setenv("LOCALSTACK_HOST", "127.0.0.1:4572")

    assert aws.client("sqs").meta.endpoint_url == "http://127.0.0.1:4500"


def test_there_is_one_client_for_a_process() -> None:
    assert aws.client("sqs") is aws.client("sqs")


def test_a_read_may_take_longer_than_the_longest_poll() -> None:
    config: Any = aws.client("sqs").meta.config

    assert config.connect_timeout == 2
    assert config.read_timeout > 20


@pytest.mark.parametrize("service", ["lambda", "s3", "secretsmanager"])
def test_what_accepts_and_does_not_answer_is_given_up_before_a_function_is_killed(
    service: Any,
) -> None:
    config: Any = aws.client(service).meta.config
    at_most_s = config.retries["total_max_attempts"] * config.read_timeout

    assert at_most_s <= 30
