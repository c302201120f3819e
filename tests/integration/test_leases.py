"""Deliveries that run out of time, on a real queue: extended, and harmless when they are lost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Thread
from typing import Any
from uuid import uuid4

import boto3
import pytest
from embedpipe.adapters.memory import FakeEmbedder
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.domain.jobs import JobStatus
from embedpipe.ports import Outgoing

from tests.ministack import ministack
from tests.unit.worker.bench import Bench, some_settings, token

pytest.importorskip("ministack")

VISIBILITY_S = 3


class Slow(FakeEmbedder):
    """A model that takes twice the visibility timeout, but for its warm-up."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Any:
        if self.calls:
            time.sleep(2.2 * VISIBILITY_S)
        return super().embed(token_ids)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture
def queue(url: str) -> Iterator[SqsQueue]:
    make: Any = boto3.Session("test", "test", region_name="us-east-1").client
    client = make("sqs", endpoint_url=url)
    made = {
        name: client.create_queue(
            QueueName=f"{uuid4().hex}-{name}",
            Attributes={"VisibilityTimeout": str(VISIBILITY_S)},
        )["QueueUrl"]
        for name in ("embed", "embed-dlq")
    }
    yield SqsQueue(client, made["embed"], stage="embed", dlq_url=made["embed-dlq"])
    client.close()


def a_bench(queue: SqsQueue, embedder: FakeEmbedder) -> Bench:
    return Bench.with_pauses(
        settings=some_settings(EMBED_VISIBILITY_S=VISIBILITY_S, EMBED_STOP_TIMEOUT_S=5),
        embedder=embedder,
        overrides={"inboxes": {"normal": queue}},
    )


def send(bench: Bench, queue: SqsQueue) -> Any:
    message = bench.jobs.a_message(["some words"])
    queue.send([Outgoing("0", message.encode(), group_id="acme")])
    return message


def test_a_pass_of_twice_the_visibility_is_done_once(queue: SqsQueue) -> None:
    bench = a_bench(queue, Slow())
    message = send(bench, queue)
    bench.worker.prepare()
    thread = Thread(target=bench.worker.run)
    thread.start()
    deadline = time.monotonic() + 60
    while queue.backlog():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    bench.worker.stop()
    thread.join(30)

    bench.store_all()
    assert bench.counts["received"] == bench.counts["done"] == 1
    assert bench.jobs.status(message) is JobStatus.SUCCEEDED


def test_a_lost_delivery_is_left_to_whoever_has_the_message_now(queue: SqsQueue) -> None:
    bench = a_bench(queue, FakeEmbedder())
    message = send(bench, queue)
    bench.worker.receiver.step(1.0)
    time.sleep(VISIBILITY_S + 0.5)
    bench.worker.context.holdings.extendable()
    [theirs] = queue.receive(wait_s=5)

    # It was computed in time, and its settlement comes too late: no heartbeat ran.
    while bench.worker.engine.step() or bench.worker.sender.step():
        pass

    assert theirs.receive_count == 2
    assert queue.receive(wait_s=0) == []
    assert queue.extend([theirs], VISIBILITY_S) == []
    assert queue.backlog() == 1
    queue.ack([theirs])
    assert queue.backlog() == 0
    assert bench.jobs.status(message) is not JobStatus.FAILED


def test_the_result_of_a_lost_delivery_is_stored_once(queue: SqsQueue) -> None:
    bench = a_bench(queue, FakeEmbedder())
    message = send(bench, queue)
    bench.worker.receiver.step(1.0)
    bench.worker.engine.step()
    time.sleep(VISIBILITY_S + 0.5)
    [theirs] = queue.receive(wait_s=5)

    bench.worker.sender.step()
    bench.store_all()
    queue.retry(theirs, 0)
    another = bench.another_worker()
    another.receiver.step(5.0)
    another.engine.step()
    another.sender.step()

    passes = [call for call in bench.embedder.calls if any(token("some") in ids for ids in call)]
    assert bench.jobs.status(message) is JobStatus.SUCCEEDED
    assert len(passes) == 1
    assert queue.backlog() == 0
