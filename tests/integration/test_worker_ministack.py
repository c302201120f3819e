"""The embed worker as the process that runs: real queues, a real database, the real model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from array import array
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from embedpipe.adapters import aws
from embedpipe.adapters.embed_endpoint import HttpEmbedder
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.domain.lanes import LANES, NORMAL, QUEUES
from embedpipe.domain.tokens import pack
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.messages import EmbedRequested, StoreRequested, decode
from embedpipe.ports import NewBatch, NewChunk, OutboxRow, Outgoing
from embedpipe.stages.store import store

from tests.builders import a_new_job
from tests.ministack import free_port, ministack
from tests.real_model import MODELS_DIR, the_real_model

pytest.importorskip("ministack")

APP = Path(__file__).parents[2] / "functions" / "embed_gpu" / "app.py"
TENANT = "real"
#: By when a paused worker receives nothing any more.
PAUSED_WITHIN_S = 10.0
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Cloud:
    """Queues, a database and the environment of the process under test."""

    def __init__(self, url: str, conninfo: str, database: PostgresDatabase) -> None:
        self.model = the_real_model()
        self.database = database
        self.port = free_port()
        sqs, name = aws.client("sqs"), uuid4().hex
        aws.client("s3").create_bucket(Bucket=name)
        urls = {
            part: sqs.create_queue(
                QueueName=f"{name}-{part}", Attributes={"VisibilityTimeout": "30"}
            )["QueueUrl"]
            for part in (*QUEUES.values(), "embed-dlq", "store")
        }
        self.lanes = {
            lane: SqsQueue(sqs, urls[queue], stage="embed", dlq_url=urls["embed-dlq"])
            for lane, queue in QUEUES.items()
        }
        self.store = SqsQueue(sqs, urls["store"], stage="store")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **AWS,
            "AWS_ENDPOINT_URL": url,
            "DATABASE_URL": conninfo,
            "MODELS_DIR": str(MODELS_DIR),
            "DEFAULT_MODEL_ID": self.model.info.model_id,
            "CONTENT_BUCKET": name,
            "EMBED_HIGH_QUEUE_URL": urls["embed_high"],
            "EMBED_QUEUE_URL": urls["embed"],
            "EMBED_LOW_QUEUE_URL": urls["embed_low"],
            "EMBED_DLQ_URL": urls["embed-dlq"],
            "STORE_QUEUE_URL": urls["store"],
            "EMBED_PROVIDER": "cpu",
            "EMBED_THREADS": "1",
            "EMBED_TUNE_S": "0",
            "EMBED_BUFFER_TOKENS": "1024",
            "EMBED_VISIBILITY_S": "30",
            "EMBED_WAIT_S": "2",
            "EMBED_HTTP_PORT": str(self.port),
        }

    def submit(self, texts: list[str], lane: str = NORMAL) -> EmbedRequested:
        """Put a job of one batch where the chunk stage would."""
        job_id = str(uuid4())
        job = a_new_job(tenant_id=TENANT, job_id=job_id, document_id=job_id)
        jobs = self.database.jobs
        jobs.admit(job, lambda _: OutboxRow(TENANT, "chunk", job_id, "{}"))
        ref = JobRef(TENANT, job_id, 1, "default", job_id, 1)
        assert jobs.begin_chunking(ref)
        chunks = [NewChunk(at, at, at + 1, "x", 3, "0" * 64) for at in range(len(texts))]
        assert jobs.finish_chunking(ref, chunks, [NewBatch(0, 0, len(texts))], [])
        message = EmbedRequested(
            tenant_id=TENANT,
            job_id=job_id,
            epoch=1,
            collection="default",
            document_id=job_id,
            document_version=1,
            batch_no=0,
            chunk_from=0,
            chunk_count=len(texts),
            model_id=self.model.info.model_id,
            fingerprint=self.model.info.fingerprint,
            tokens=pack(self.tokenizer.encode(texts)),
        )
        self.lanes[lane].send([Outgoing("0", message.encode(), group_id=TENANT)])
        return message

    def act(self, action: ControlAction) -> None:
        """Do to the embed stage what an operator would."""
        act = Act(Actor(TENANT, "key"), f"stage.{action}", "embed")
        self.database.controls.set("embed", action, act)

    @property
    def tokenizer(self) -> Any:
        return ModelsDirectory(MODELS_DIR).tokenizer(self.model.info.model_id)

    def visible(self) -> int:
        """Count the messages of the embed queues that could be received now."""
        return self._depth("ApproximateNumberOfMessages")

    def hidden(self) -> int:
        """Count the messages of the embed queues that somebody holds."""
        return self._depth("ApproximateNumberOfMessagesNotVisible")

    def _depth(self, name: Any) -> int:
        return sum(self._depth_of(f"EMBED_{lane}QUEUE_URL", name) for lane in ("HIGH_", "", "LOW_"))

    def _depth_of(self, variable: str, name: Any) -> int:
        attributes = aws.client("sqs").get_queue_attributes(
            QueueUrl=self.environment[variable], AttributeNames=[name]
        )
        return int(attributes["Attributes"][name])

    def take_answers(self) -> list[StoreRequested]:
        """Receive what was sent to the store queue."""
        answers = []
        while received := self.store.receive(wait_s=0):
            answers += [decode(StoreRequested, one.body) for one in received]
            self.store.ack(received)
        return answers


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture
def cloud(
    url: str,
    app_conninfo: str,
    maintenance_database: PostgresDatabase,
    postgres_database: PostgresDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cloud]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    aws.forget_clients()
    maintenance_database.tenants.create(TENANT, "free", the_real_model().info)
    yield Cloud(url, app_conninfo, postgres_database)
    aws.client("sqs").close()
    aws.client("s3").close()
    aws.forget_clients()


@contextmanager
def worker(cloud: Cloud, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the program; kill it in the end if a test did not stop it."""
    process = subprocess.Popen(
        [sys.executable, str(APP)],
        env=cloud.environment | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def stop(process: subprocess.Popen[str]) -> tuple[int, float]:
    """Stop it as ECS does; give its exit status and the seconds it took."""
    asked_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    return process.returncode, time.monotonic() - asked_at


def texts(n: int) -> list[str]:
    return [f"message {n} holds sentence {at}, " + "and words " * 20 for at in range(8)]


def test_a_stop_in_the_middle_loses_nothing_and_another_worker_finishes(cloud: Cloud) -> None:
    lanes = [*LANES]
    messages = [cloud.submit(texts(n), lanes[n % 3]) for n in range(40)]
    with worker(cloud) as first:
        until(cloud.hidden)
        until(lambda: cloud.visible() + cloud.hidden() < 40)
        status, took_s = stop(first)
    left, held = cloud.visible(), cloud.hidden()
    answers = cloud.take_answers()
    done = len(answers)

    with worker(cloud) as second:
        until(lambda: cloud.visible() + cloud.hidden() == 0)
        second_status, _ = stop(second)
    answers += cloud.take_answers()

    assert (status, second_status) == (0, 0)
    assert took_s < 10
    assert held == 0
    assert 0 < done < 40
    assert left == 40 - done
    assert {answer.batch for answer in answers} == {message.batch for message in messages}
    assert len(answers) == 40
    for answer in answers:
        store(answer, jobs=cloud.database.jobs)
    jobs = [cloud.database.jobs.get(TENANT, message.job_id) for message in messages]
    assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}


def test_a_stop_while_every_lane_is_polled_waits_for_the_polls_and_loses_nothing(
    cloud: Cloud,
) -> None:
    with worker(cloud, EMBED_WAIT_S="4") as process:
        embedder = HttpEmbedder(f"http://127.0.0.1:{cloud.port}", timeout_s=5)
        until(lambda: _is_healthy(embedder))
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        until(lambda: not _is_healthy(embedder))
        messages = {lane: cloud.submit([f"late in {lane}"], lane) for lane in LANES}
        process.communicate(timeout=40)
        took_s = time.monotonic() - asked_at

    came = {lane: queue.receive(wait_s=2) for lane, queue in cloud.lanes.items()}

    assert process.returncode == 0
    assert took_s < 10
    assert not cloud.take_answers()
    assert {lane: decode(EmbedRequested, one.body).batch for lane, [one] in came.items()} == {
        lane: message.batch for lane, message in messages.items()
    }


def test_a_paused_worker_receives_from_no_lane_and_goes_on_by_itself(cloud: Cloud) -> None:
    first = cloud.submit(texts(0))
    with worker(cloud, EMBED_HEARTBEAT_S="1") as process:
        until(lambda: cloud.visible() + cloud.hidden() == 0)
        cloud.act(ControlAction.PAUSE)
        asked_at = time.monotonic()
        until(lambda: [one.state for one in cloud.database.heartbeats.all()] == ["paused"])
        # What was being polled for is over, too.
        time.sleep(max(0.0, PAUSED_WITHIN_S - (time.monotonic() - asked_at)))
        waiting = {lane: cloud.submit(texts(n), lane) for n, lane in enumerate(LANES, 1)}
        # More polls than one would have begun by now.
        time.sleep(3 * float(cloud.environment["EMBED_WAIT_S"]))
        depths = cloud.visible(), cloud.hidden()
        # By this test, which puts them back: the first receive that there is.
        peeked = {lane: queue.receive(wait_s=0) for lane, queue in cloud.lanes.items()}
        counts = {one.receive_count for received in peeked.values() for one in received}
        for lane, received in peeked.items():
            cloud.lanes[lane].extend(received, 0)
        cloud.act(ControlAction.RESUME)
        until(lambda: cloud.visible() + cloud.hidden() == 0)
        status, _ = stop(process)

    assert depths == (3, 0)
    assert counts == {1}
    assert {answer.batch for answer in cloud.take_answers()} == {
        message.batch for message in (first, *waiting.values())
    }
    assert status == 0
    assert cloud.database.heartbeats.all() == []


def test_vectors_do_not_depend_on_neighbours_and_queries_use_the_same_model(cloud: Cloud) -> None:
    text = "What happens to a message that a worker received?"
    cloud.submit([text, "Something else entirely.", "a long one " * 30])
    with worker(cloud) as process:
        until(lambda: cloud.visible() + cloud.hidden() == 0)
        [answer] = cloud.take_answers()
        embedder = HttpEmbedder(f"http://127.0.0.1:{cloud.port}", timeout_s=5)
        query = embedder.embed_query(text, cloud.model.info.fingerprint)
        embedder.check()
        stop(process)

    first = array("f", b64decode(answer.vectors))[: answer.dimensions]
    assert sum(a * b for a, b in zip(first, query, strict=True)) > 0.9999
    with pytest.raises(EmbedderUnavailableError):
        embedder.check()


def test_a_second_signal_ends_it_at_once(cloud: Cloud) -> None:
    with worker(cloud, EMBED_WAIT_S="20", EMBED_STOP_TIMEOUT_S="100") as process:
        embedder = HttpEmbedder(f"http://127.0.0.1:{cloud.port}", timeout_s=5)
        until(lambda: _is_healthy(embedder))
        process.send_signal(signal.SIGINT)
        until(lambda: not _is_healthy(embedder))

        status, took_s = stop(process)

    assert status == 128 + signal.SIGTERM
    assert took_s < 2


def test_without_the_provider_asked_for_it_ends_before_it_receives(cloud: Cloud) -> None:
    cloud.submit(["some text"])
    with worker(cloud, EMBED_PROVIDER="cuda") as process:
        output, _ = process.communicate(timeout=40)

    assert process.returncode == 1
    assert "EMBEDDER_UNAVAILABLE" in output
    assert "Traceback" not in output
    [received] = cloud.lanes[NORMAL].receive(wait_s=2)
    assert received.receive_count == 1


def _is_healthy(embedder: HttpEmbedder) -> bool:
    try:
        embedder.check()
    except EmbedderUnavailableError:
        return False
    return True
