"""Our queue and consumer over a real server, restarts of the server included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from embedpipe.adapters import aws
from embedpipe.adapters.memory import FakeModels, MemoryBlobs, MemoryDatabase
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.consumer import Consumer
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import PermanentError, QueueUnavailableError, TransientError
from embedpipe.messages import ChunkRequested
from embedpipe.ports import Outgoing, Received

from tests.ministack import free_port, ministack
from tests.sqs_events import as_event, failed_ids

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

pytest.importorskip("ministack")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQSClient]:
    with pointed_at(url, monkeypatch) as client:
        yield client


@contextmanager
def pointed_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQSClient]:
    """Give our own factory's client, pointed at a server by the environment alone."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    aws.forget_clients()
    client = aws.client("sqs")
    yield client
    client.close()
    aws.forget_clients()


def a_queue(client: SQSClient, name: str | None = None) -> tuple[SqsQueue, SqsQueue]:
    name = name or uuid4().hex
    dlq_url = client.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    queue_url = client.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30"})
    queue = SqsQueue(client, queue_url["QueueUrl"], stage="chunk", dlq_url=dlq_url)
    return queue, SqsQueue(client, dlq_url, stage="dlq")


def a_body(n: int) -> str:
    return ChunkRequested(
        tenant_id="tenant-a",
        job_id=f"00000000-0000-4000-8000-{n:012d}",
        epoch=1,
        collection="default",
        document_id=f"doc-{n}",
        document_version=1,
    ).encode()


def received_from(queue: SqsQueue, count: int) -> list[Received]:
    received: list[Received] = []
    deadline = time.monotonic() + 10
    while len(received) < count and time.monotonic() < deadline:
        received += queue.receive(wait_s=1)
    return received


def a_consumer(queue: SqsQueue, handle: Callable[[ChunkRequested], object]) -> Consumer[Any]:
    database = MemoryDatabase()
    database.create_tenant("tenant-a", FakeModels().get("fake"))
    return Consumer(
        ChunkRequested,
        handle,
        inbox=queue,
        jobs=database.jobs,
        policy=RetryPolicy(max_retries=0),
        stage="test",
        blobs=MemoryBlobs(),
    )


def test_a_batch_is_settled_record_by_record(client: SQSClient) -> None:
    queue, dlq = a_queue(client)
    bodies = {n: a_body(n) for n in range(1, 4)}
    queue.send([Outgoing(str(n), body, "tenant-a") for n, body in bodies.items()])
    queue.send([Outgoing("malformed", "not JSON", "tenant-a")])
    received = received_from(queue, 4)

    def handle(message: ChunkRequested) -> None:
        if message.document_id == "doc-2":
            raise TransientError(retry_after_s=0)
        if message.document_id == "doc-3":
            raise PermanentError(code="POISON_CHUNK")

    failed = failed_ids(a_consumer(queue, handle)(as_event(received)))

    again = {one.message_id: one for one in received_from(queue, 1)}
    copies = received_from(dlq, 2)
    assert [one.body for one in received if one.message_id in failed] == [bodies[2]]
    assert list(again) == failed
    assert {(copy.body, copy.attributes["error_code"]) for copy in copies} == {
        (bodies[3], "POISON_CHUNK"),
        ("not JSON", "SCHEMA"),
    }


def test_a_queue_that_a_restart_lost_is_an_outage_until_it_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with (
        ministack(tmp_path, port) as url,
        pointed_at(url, monkeypatch) as client,
    ):
        queue, _ = a_queue(client, "lost")
        queue.check()

    with pointed_at(f"http://127.0.0.1:{port}", monkeypatch) as client:
        stopped = SqsQueue(client, f"http://127.0.0.1:{port}/000000000000/lost", stage="chunk")
        with pytest.raises(QueueUnavailableError):
            stopped.send([Outgoing("k", "{}", "tenant-a")])

        with ministack(tmp_path, port):
            with pytest.raises(QueueUnavailableError):
                stopped.check()
            a_queue(client, "lost")
            stopped.check()
            assert stopped.send([Outgoing("k", "{}", "tenant-a")]) == {"k"}
