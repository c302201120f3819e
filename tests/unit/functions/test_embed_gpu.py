from __future__ import annotations

from dataclasses import replace

import pytest
from embedpipe import bootstrap
from embedpipe.adapters.memory import (
    FakeEmbedder,
    FakeEmbedders,
    FakeModels,
    MemoryBlobs,
    MemoryDatabase,
    MemoryQueue,
)
from embedpipe.domain.jobs import JobRef
from embedpipe.domain.retry import RetryPolicy
from embedpipe.messages import StoreRequested, decode
from embedpipe.ports import NewBatch, NewChunk, OutboxRow
from embedpipe.settings import EmbedSettings

from functions.embed_gpu import app
from tests.builders import a_new_job
from tests.sqs_events import MODEL, send_bodies

SETTINGS = {
    "DATABASE_URL": "postgresql://unused",
    "EMBED_QUEUE_URL": "embed",
    "EMBED_DLQ_URL": "embed-dlq",
    "STORE_QUEUE_URL": "store",
    "DEFAULT_MODEL_ID": MODEL.model_id,
    "CONTENT_BUCKET": "content",
    "EMBED_PROVIDER": "cpu",
}


def job_id(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012d}"


def some_jobs() -> MemoryDatabase:
    """Three jobs as the chunk stage leaves them; the first has two chunks."""
    database = MemoryDatabase()
    database.create_tenant("tenant-a", MODEL)
    for n, count in ((1, 2), (2, 1), (3, 1)):
        job = a_new_job(tenant_id="tenant-a", job_id=job_id(n), document_id=f"doc-{n}")
        database.jobs.admit(job, lambda _: OutboxRow("tenant-a", "chunk", "admitted", "{}"))
        ref = JobRef("tenant-a", job_id(n), 1, "default", f"doc-{n}", 1)
        chunks = [NewChunk(at, at, at + 1, "t", 3, "0" * 64) for at in range(count)]
        database.jobs.begin_chunking(ref)
        database.jobs.finish_chunking(ref, chunks, [NewBatch(0, 0, count)], [])
    return database


def some_services(queue: MemoryQueue, store_queue: MemoryQueue) -> bootstrap.EmbedServices:
    return bootstrap.EmbedServices(
        database=some_jobs(),
        inboxes={"normal": queue},
        store_queue=store_queue,
        blobs=MemoryBlobs(),
        models=FakeModels(MODEL),
        embedders=FakeEmbedders(FakeEmbedder(MODEL)),
        policy=RetryPolicy(),
        settings=EmbedSettings.from_environment(SETTINGS),
    )


def test_a_batch_with_a_malformed_message_is_embedded_but_for_that_one() -> None:
    queue = MemoryQueue("embed", dlq=MemoryQueue("embed-dlq"))
    store_queue = MemoryQueue("store")
    services = some_services(queue, store_queue)
    send_bodies(queue, "embed_batch")

    app.make_worker(services).drain()

    answers = [decode(StoreRequested, body) for body in store_queue.bodies()]
    assert {answer.job_id: answer.chunk_count for answer in answers} == {job_id(1): 2, job_id(2): 1}
    assert queue.dlq is not None
    assert [one.attributes["error_code"] for one in queue.dlq.peek()] == ["SCHEMA"]
    failed = services.database.jobs.get("tenant-a", job_id(3)).error
    assert failed is not None
    assert failed.code == "SCHEMA"
    assert not queue.peek()


def test_large_messages_are_read_through_their_claim_checks() -> None:
    blobs, store_queue = MemoryBlobs(), MemoryQueue("store")
    dlq = MemoryQueue("embed-dlq")
    queue = MemoryQueue("embed", max_message_bytes=1400, blobs=blobs, dlq=dlq)
    services = replace(some_services(queue, store_queue), blobs=blobs)
    send_bodies(queue, "embed_batch")
    assert all(body.startswith('{"claim_check"') for body in queue.bodies())

    app.make_worker(services).drain()

    assert len(store_queue.peek()) == 2
    assert len(dlq.peek()) == 1


def test_without_settings_it_ends_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    bootstrap.embed.cache_clear()

    assert app.main() == 1
