from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from embedpipe import bootstrap, telemetry
from embedpipe.adapters.memory import FakeModels, MemoryBlobs, MemoryDatabase, MemoryQueue
from embedpipe.domain.jobs import Chunking, JobStatus, NewJob
from embedpipe.domain.lanes import QUEUES
from embedpipe.domain.retry import RetryPolicy
from embedpipe.messages import EmbedRequested, decode
from embedpipe.ports import OutboxRow
from embedpipe.settings import ChunkSettings

from functions.chunk import app
from tests.sqs_events import LambdaContext, as_event, event, failed_ids, send_bodies

SETTINGS = {
    "DATABASE_URL": "postgresql://unused",
    "CHUNK_QUEUE_URL": "chunk",
    "CHUNK_DLQ_URL": "chunk-dlq",
    "EMBED_QUEUE_URL": "embed",
    "CONTENT_BUCKET": "content",
    "EMBED_MESSAGE_MAX_CHUNKS": "2",
}


def job_id(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012d}"


def a_job(n: int, **overrides: Any) -> NewJob:
    content = f"Document {n}. " + "word " * 50
    fields: dict[str, Any] = {
        "tenant_id": "tenant-a",
        "job_id": job_id(n),
        "collection": "default",
        "document_id": f"doc-{n}",
        "content": content,
        "content_uri": None,
        "content_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "content_bytes": len(content),
        "content_type": "text/plain",
        "chunking": Chunking(size=16, overlap=2),
    }
    return NewJob(**{**fields, **overrides})


def some_services(*jobs: NewJob) -> tuple[bootstrap.ChunkServices, MemoryQueue, MemoryQueue]:
    database = MemoryDatabase()
    database.create_tenant("tenant-a", FakeModels().get("fake"))
    for job in jobs:
        database.jobs.admit(job, lambda _: OutboxRow("tenant-a", "chunk", "admitted", "{}"))
    chunk_queue = MemoryQueue("chunk", dlq=MemoryQueue("chunk-dlq"))
    embed_queue = MemoryQueue("embed")
    services = bootstrap.ChunkServices(
        database=database,
        inbox=chunk_queue,
        embed_queues={**dict.fromkeys(QUEUES.values(), MemoryQueue("other")), "embed": embed_queue},
        blobs=MemoryBlobs(),
        models=FakeModels(),
        policy=RetryPolicy(),
        settings=ChunkSettings.from_environment(SETTINGS),
    )
    return services, chunk_queue, embed_queue


def test_documents_become_embed_messages_of_their_jobs() -> None:
    services, _, embed_queue = some_services(a_job(1), a_job(2))

    answer = app.handle(event("chunk_batch"), services)

    sent = [decode(EmbedRequested, body) for body in embed_queue.bodies()]
    assert answer == {"batchItemFailures": []}
    assert {message.job_id for message in sent} == {job_id(1), job_id(2)}
    assert max(message.chunk_count for message in sent) == 2
    assert services.database.jobs.get("tenant-a", job_id(1)).status is JobStatus.EMBEDDING


def test_messages_go_to_the_queue_of_their_jobs_priority() -> None:
    services, _, normal = some_services(a_job(1, priority=90), a_job(2, priority=10))
    lanes = {name: MemoryQueue(name) for name in QUEUES.values()}

    app.handle(event("chunk_batch"), replace(services, embed_queues=lanes))

    jobs = {
        name: {decode(EmbedRequested, body).job_id for body in queue.bodies()}
        for name, queue in lanes.items()
    }
    assert jobs == {"embed_high": {job_id(1)}, "embed": set(), "embed_low": {job_id(2)}}
    assert not normal.bodies()
    assert isinstance(services.database, MemoryDatabase)
    assert {row["queue"] for row in services.database.rows("outbox")} <= {"chunk"}


def test_a_poison_record_goes_to_the_dlq_and_its_neighbours_are_done() -> None:
    services, chunk_queue, embed_queue = some_services(a_job(1), a_job(2), a_job(3))
    send_bodies(chunk_queue, "chunk_poison")

    answer = app.handle(as_event(chunk_queue.receive(wait_s=0)), services)

    assert answer == {"batchItemFailures": []}
    assert {decode(EmbedRequested, body).job_id for body in embed_queue.bodies()} == {
        job_id(1),
        job_id(3),
    }
    assert chunk_queue.dlq is not None
    [copy] = chunk_queue.dlq.peek()
    assert copy.body == event("chunk_poison")["Records"][1]["body"]
    assert copy.attributes["error_code"] == "SCHEMA"
    statuses = [services.database.jobs.get("tenant-a", job_id(n)).status for n in (1, 2, 3)]
    assert statuses == ["embedding", "failed", "embedding"]


def test_good_lost_and_unreachable_content_in_one_batch_are_told_apart() -> None:
    lost = a_job(2, content=None, content_uri="s3://memory/gone")
    services, chunk_queue, embed_queue = some_services(a_job(1), lost)
    send_bodies(chunk_queue, "chunk_batch")

    answer = app.handle(as_event(chunk_queue.receive(wait_s=0)), services)

    assert failed_ids(answer) == []
    assert {decode(EmbedRequested, body).job_id for body in embed_queue.bodies()} == {job_id(1)}
    job = services.database.jobs.get("tenant-a", job_id(2))
    assert (job.status, job.error and job.error.code) == ("failed", "CONTENT_LOST")


def test_an_outage_of_the_object_store_brings_only_its_record_back() -> None:
    stored = a_job(2, content=None, content_uri="s3://memory/key")
    services, chunk_queue, embed_queue = some_services(a_job(1), stored)
    assert isinstance(services.blobs, MemoryBlobs)
    services.blobs.is_available = False
    send_bodies(chunk_queue, "chunk_batch")
    received = chunk_queue.receive(wait_s=0)

    answer = app.handle(as_event(received), services)

    assert failed_ids(answer) == [received[1].message_id]
    assert {decode(EmbedRequested, body).job_id for body in embed_queue.bodies()} == {job_id(1)}


def test_rows_that_cannot_be_sent_are_left_to_the_sweep() -> None:
    services, _, embed_queue = some_services(a_job(1), a_job(2))
    embed_queue.is_available = False

    answer = app.handle(event("chunk_batch"), services)

    assert answer == {"batchItemFailures": []}
    assert isinstance(services.database, MemoryDatabase)
    left = [row for row in services.database.rows("outbox") if row["queue"] == "embed"]
    assert left
    assert services.database.jobs.get("tenant-a", job_id(1)).status is JobStatus.EMBEDDING


def test_a_queue_that_refuses_brings_no_record_back(monkeypatch: pytest.MonkeyPatch) -> None:
    services, _, embed_queue = some_services(a_job(1), a_job(2))

    def refuse(_: object) -> set[str]:
        raise ValueError("refused")

    monkeypatch.setattr(embed_queue, "send", refuse)

    assert app.handle(event("chunk_batch"), services) == {"batchItemFailures": []}


def test_a_second_delivery_has_no_second_effect() -> None:
    services, _, embed_queue = some_services(a_job(1), a_job(2))
    app.handle(event("chunk_batch"), services)
    bodies = embed_queue.bodies()

    answer = app.handle(event("chunk_batch"), services)

    assert answer == {"batchItemFailures": []}
    assert embed_queue.bodies() == bodies


def test_the_entry_point_counts_the_chunks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    services, _, embed_queue = some_services(a_job(1), a_job(2))
    monkeypatch.setattr(bootstrap, "chunk", lambda: services)
    telemetry.of("chunk").metrics.clear_metrics()

    answer = app.lambda_handler(event("chunk_batch"), LambdaContext())

    [metrics] = [
        json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line
    ]
    sent = [decode(EmbedRequested, body) for body in embed_queue.bodies()]
    assert answer == {"batchItemFailures": []}
    assert metrics["ChunksCreated"] == [sum(message.chunk_count for message in sent)]
    assert sum(metrics["MessagesProcessed"]) == 2
    assert metrics["stage"] == "chunk"
