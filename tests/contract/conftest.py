"""The backends that every contract runs over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import pytest
from embedpipe.adapters.memory import MemoryBlobs, MemoryQueue
from embedpipe.adapters.s3 import S3Blobs
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.ports import Blobs, Inbox, Measured, Outbox

from tests.localstack import backends, endpoint_url
from tests.ministack import ministack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient


class Queue(Inbox, Outbox, Measured, Protocol):
    """What every queue adapter is."""


@dataclass
class Queues:
    """A queue with its DLQ, as one backend makes them; time passes as that backend can."""

    make: Callable[..., tuple[Queue, Queue]]
    blobs: Blobs
    missing: Callable[[], Queue]
    pass_time: Callable[[float], None] = time.sleep


@dataclass
class Clock:
    now: float = field(default=1000.0)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(params=backends("memory", "moto", "ministack"))
def queues(request: pytest.FixtureRequest) -> Queues:
    backend: Queues = request.getfixturevalue(f"{request.param}_queues")
    return backend


@pytest.fixture(params=backends("memory", "moto", "ministack"))
def blobs(request: pytest.FixtureRequest) -> Blobs:
    backend: Blobs = request.getfixturevalue(f"{request.param}_queues").blobs
    return backend


@pytest.fixture
def memory_queues() -> Queues:
    clock, blobs = Clock(), MemoryBlobs()

    def make(*, visibility_s: int = 30, **options: Any) -> tuple[Queue, Queue]:
        dlq = MemoryQueue("dlq", clock=clock)
        made = MemoryQueue("chunk", visibility_s=visibility_s, clock=clock, dlq=dlq, **options)
        return made, dlq

    def missing() -> Queue:
        queue = MemoryQueue("missing")
        queue.is_available = False
        return queue

    return Queues(make, blobs, missing, clock.advance)


@pytest.fixture
def moto_queues() -> Iterator[Queues]:
    moto = pytest.importorskip("moto")
    with moto.mock_aws():
        sqs, s3 = _clients(None)
        yield _sqs_queues(sqs, s3)
        sqs.close()
        s3.close()


@pytest.fixture(scope="session")
def ministack_clients(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[SQSClient, S3Client]]:
    pytest.importorskip("ministack")
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        sqs, s3 = _clients(url)
        yield sqs, s3
        sqs.close()
        s3.close()


@pytest.fixture
def ministack_queues(ministack_clients: tuple[SQSClient, S3Client]) -> Queues:
    return _sqs_queues(*ministack_clients)


@pytest.fixture(scope="session")
def localstack_clients() -> Iterator[tuple[SQSClient, S3Client]]:
    sqs, s3 = _clients(endpoint_url())
    yield sqs, s3
    sqs.close()
    s3.close()


@pytest.fixture
def localstack_queues(localstack_clients: tuple[SQSClient, S3Client]) -> Queues:
    # It looks once a second for leases and delays that have ended.
    made = _sqs_queues(*localstack_clients)
    return replace(made, pass_time=lambda seconds: time.sleep(seconds + 1.5))


def _clients(url: str | None) -> tuple[SQSClient, S3Client]:
    import boto3
    from botocore.config import Config

    make: Any = boto3.Session("test", "test", region_name="us-east-1").client
    config = Config(
        retries={"total_max_attempts": 1},
        parameter_validation=False,
        s3={"addressing_style": "path"},
    )
    return make("sqs", endpoint_url=url, config=config), make("s3", endpoint_url=url, config=config)


def _sqs_queues(sqs: SQSClient, s3: S3Client) -> Queues:
    name = f"q-{uuid4().hex}"
    s3.create_bucket(Bucket=name)

    def make(*, visibility_s: int = 30, **options: Any) -> tuple[Queue, Queue]:
        dlq_url = sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        url = sqs.create_queue(
            QueueName=name,
            Attributes={"VisibilityTimeout": str(visibility_s), "MaximumMessageSize": "1048576"},
        )["QueueUrl"]
        made = SqsQueue(sqs, url, stage="chunk", dlq_url=dlq_url, **options)
        return made, SqsQueue(sqs, dlq_url, stage="dlq")

    def missing() -> Queue:
        url = sqs.create_queue(QueueName=f"{name}-missing")["QueueUrl"]
        sqs.delete_queue(QueueUrl=url)
        return SqsQueue(sqs, url, stage="chunk")

    return Queues(make, S3Blobs(lambda: s3, name), missing)
