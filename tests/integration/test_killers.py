"""Inputs that end the process that works on them: real processes, queues and database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from embedpipe.adapters import aws
from embedpipe.adapters.memory import FakeTokenizer
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.domain.tokens import pack
from embedpipe.messages import EmbedRequested, StoreRequested, decode
from embedpipe.ports import NewBatch, NewChunk, OutboxRow, Outgoing
from embedpipe.stages.store import store

from tests.builders import a_new_job
from tests.faults.wiring import MODEL
from tests.ministack import ministack
from tests.postgres import read_table

pytest.importorskip("ministack")

ROOT = Path(__file__).parents[2]
TENANT = "killers"
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ministack(tmp_path_factory.mktemp("ministack")) as url:
        yield url


class Cloud:
    """Queues, a database, and worker processes that are started again when they die."""

    def __init__(self, url: str, conninfo: str, database: PostgresDatabase) -> None:
        self.database = database
        self.died = 0
        sqs, name = aws.client("sqs"), uuid4().hex
        aws.client("s3").create_bucket(Bucket=name)
        made = {
            part: sqs.create_queue(
                QueueName=f"{name}-{part}", Attributes={"VisibilityTimeout": "3"}
            )["QueueUrl"]
            for part in ("embed", "embed-dlq", "store")
        }
        self.queue = SqsQueue(sqs, made["embed"], stage="embed", dlq_url=made["embed-dlq"])
        self.dlq = SqsQueue(sqs, made["embed-dlq"], stage="embed")
        self.store_queue = SqsQueue(sqs, made["store"], stage="store")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **AWS,
            "AWS_ENDPOINT_URL": url,
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": conninfo,
            "DEFAULT_MODEL_ID": MODEL.model_id,
            "CONTENT_BUCKET": name,
            "EMBED_QUEUE_URL": made["embed"],
            "EMBED_DLQ_URL": made["embed-dlq"],
            "STORE_QUEUE_URL": made["store"],
            "EMBED_PROVIDER": "cpu",
            "EMBED_VISIBILITY_S": "3",
            "EMBED_WAIT_S": "1",
            "EMBED_HTTP_PORT": "0",
            "EMBED_STOP_TIMEOUT_S": "5",
        }

    def a_message(self, text: str) -> EmbedRequested:
        """Put a job of one chunk where the chunk stage would leave it."""
        job_id, jobs = str(uuid4()), self.database.jobs
        job = a_new_job(tenant_id=TENANT, job_id=job_id, document_id=job_id)
        jobs.admit(job, lambda _: OutboxRow(TENANT, "chunk", job_id, "{}"))
        ref = JobRef(TENANT, job_id, 1, "default", job_id, 1)
        jobs.begin_chunking(ref)
        jobs.finish_chunking(ref, [NewChunk(0, 0, 1, "x", 3, "0" * 64)], [NewBatch(0, 0, 1)], [])
        return EmbedRequested(
            tenant_id=TENANT,
            job_id=job_id,
            epoch=1,
            collection="default",
            document_id=job_id,
            document_version=1,
            batch_no=0,
            chunk_from=0,
            chunk_count=1,
            model_id=MODEL.model_id,
            fingerprint=MODEL.fingerprint,
            tokens=pack(FakeTokenizer().encode([text])),
        )

    def send(self, messages: list[EmbedRequested]) -> None:
        """Send them together, so that they are received and computed together."""
        self.queue.send(
            [Outgoing(str(n), one.encode(), group_id=TENANT) for n, one in enumerate(messages)]
        )

    def work(self, log: Path) -> None:
        """Keep a worker alive until the queue is empty; do what the store stage does."""
        deadline = time.monotonic() + 90
        while self.queue.backlog():
            with worker(self.environment, log) as process:
                while process.poll() is None and self.queue.backlog():
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
                self.died += process.poll() is not None
        while received := self.store_queue.receive(wait_s=0):
            for one in received:
                store(decode(StoreRequested, one.body), jobs=self.database.jobs)
            self.store_queue.ack(received)

    def status(self, message: EmbedRequested) -> JobStatus:
        return self.database.jobs.get(TENANT, message.job_id).status


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.deadly_worker"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


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
    maintenance_database.tenants.create(TENANT, "free", MODEL)
    yield Cloud(url, app_conninfo, postgres_database)
    aws.client("sqs").close()
    aws.client("s3").close()
    aws.forget_clients()


@pytest.mark.parametrize(("word", "deaths"), [("deadly", 3), ("segfault", 1), ("quitting", 1)])
def test_a_killer_fails_alone_and_its_neighbours_succeed(
    cloud: Cloud, word: str, deaths: int, tmp_path: Path, owner_conninfo: str
) -> None:
    killer = cloud.a_message(f"a {word} word")
    innocents = [cloud.a_message(f"other words {n}") for n in range(9)]
    cloud.environment["MAX_DEATHS"] = str(deaths)
    cloud.send([innocents[0], killer, *innocents[1:]])

    cloud.work(tmp_path / "worker.log")

    job = cloud.database.jobs.get(TENANT, killer.job_id)
    assert (job.status, job.error.code if job.error else "") == (
        JobStatus.FAILED,
        "POISON_CRASH",
    )
    assert {cloud.status(one) for one in innocents} == {JobStatus.SUCCEEDED}
    [dead] = cloud.dlq.receive(wait_s=0)
    assert dead.attributes["error_code"] == "POISON_CRASH"
    # Once when nothing was known of it, and then as often as it may, by itself.
    assert cloud.died == 1 + deaths
    rows: list[dict[str, Any]] = read_table(owner_conninfo, "crash_ledger")
    assert {str(row["job_id"]): row["deaths"] for row in rows} == {killer.job_id: deaths}
