"""Clients of AWS: one per service and process, built on first use.

Where AWS is, the environment says: AWS_ENDPOINT_URL, which botocore reads itself, or the variables
of localstack-client (LOCALSTACK_HOST, USE_SSL).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, overload

from embedpipe.errors import TransientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

Service = Literal["lambda", "s3", "secretsmanager", "sqs"]

CONNECT_TIMEOUT_S = 2
#: All attempts together take less than a function has, so that what does not answer is an error and
#: not the end of the process. SQS: longer than its longest poll, 20 s.
READ_TIMEOUT_S: Mapping[Service, int] = {"lambda": 5, "s3": 10, "secretsmanager": 10, "sqs": 30}
#: Mappings are switched again soon, by who asked or by maintenance.
MAX_ATTEMPTS: Mapping[Service, int] = {"lambda": 1, "s3": 3, "secretsmanager": 3, "sqs": 3}
#: For who looks on and asks again soon: an answer that comes late is not worth waiting for.
GLANCE_S = 1

_LOCALSTACK_PORT = "4566"
_THROTTLED = frozenset(
    {
        "KmsThrottled",
        "OverLimit",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)

_GLANCING = "sqs, glancing"
_clients: dict[str, Any] = {}
_lock = Lock()


@overload
def client(service: Literal["lambda"]) -> Any: ...
@overload
def client(service: Literal["sqs"]) -> SQSClient: ...
@overload
def client(service: Literal["s3"]) -> S3Client: ...
@overload
def client(service: Literal["secretsmanager"]) -> SecretsManagerClient: ...


def client(service: Service) -> Any:
    """Give the client of a service; threads may share it."""
    with _lock:
        if service not in _clients:
            _clients[service] = _build(service, os.environ)
        return _clients[service]


def glancing_client() -> SQSClient:
    """Give a client of SQS that gives up soon."""
    with _lock:
        if _GLANCING not in _clients:
            _clients[_GLANCING] = _build("sqs", os.environ, is_glancing=True)
        found: SQSClient = _clients[_GLANCING]
        return found


def forget_clients() -> None:
    """Build clients anew on their next use: in a forked child, or when the environment changed."""
    with _lock:
        _clients.clear()


def _build(service: Service, environment: Mapping[str, str], *, is_glancing: bool = False) -> Any:
    # A quarter to one second of imports: only who uses AWS pays for it.
    import boto3
    from botocore.config import Config

    place = _localstack(environment)
    custom = bool(place) or any(
        environment.get(name)
        for name in ("AWS_ENDPOINT_URL", f"AWS_ENDPOINT_URL_{service.upper()}")
    )
    config = Config(
        connect_timeout=GLANCE_S if is_glancing else CONNECT_TIMEOUT_S,
        read_timeout=GLANCE_S if is_glancing else READ_TIMEOUT_S[service],
        retries={
            "mode": "standard",
            "total_max_attempts": 1 if is_glancing else MAX_ATTEMPTS[service],
        },
        tcp_keepalive=True,
        # The adapters check what they pass; botocore's own check is a tenth of a call's CPU time.
        parameter_validation=False,
        # We keep a SHA-256 of our own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # `bucket.localhost` does not resolve everywhere.
        s3={"addressing_style": "path" if custom else "auto"},
    )
    make: Any = boto3.Session().client
    return make(service, config=config, **place)


def _localstack(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the arguments that localstack-client would give; none without its variables."""
    host = environment.get("LOCALSTACK_HOST", "").strip()
    if not host or environment.get("AWS_ENDPOINT_URL", "").strip():
        return {}
    name, _, port = host.partition(":")
    scheme = "https" if environment.get("USE_SSL") in ("1", "true") else "http"
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return {
        "endpoint_url": f"{scheme}://{name or 'localhost'}:{port or _LOCALSTACK_PORT}",
        "region_name": region or "us-east-1",
        "aws_access_key_id": environment.get("AWS_ACCESS_KEY_ID") or "test",
        "aws_secret_access_key": environment.get("AWS_SECRET_ACCESS_KEY") or "test",
    }


@contextmanager
def outages_as(unavailable: type[TransientError], *codes: str) -> Iterator[None]:
    """Raise `unavailable` for what is not our fault: no answer, 5xx, throttling, or `codes`.

    Anything else is a bug or a missing permission and passes through.
    """
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    try:
        yield
    except (ConnectionError, HTTPClientError) as exc:
        raise unavailable from exc
    except ClientError as exc:
        if is_outage(exc.response) or error_code(exc.response) in codes:
            raise unavailable from exc
        raise


def error_code(response: Mapping[str, Any]) -> str:
    """Give the code of an error response, without the prefix that older protocols put before it."""
    return str(response.get("Error", {}).get("Code", "")).rpartition(".")[2]


def is_outage(response: Mapping[str, Any]) -> bool:
    """Say whether the service, not the request, is at fault."""
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or status == 429 or error_code(response) in _THROTTLED
