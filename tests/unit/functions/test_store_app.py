from __future__ import annotations

import json
from typing import Any

import pytest
from embedpipe import bootstrap
from embedpipe.adapters.memory import MemoryBlobs, MemoryDatabase, MemoryQueue
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.domain.retry import RetryPolicy
from embedpipe.ports import NewBatch, NewChunk, OutboxRow
from embedpipe.settings import StoreSettings

from functions.store import app
from tests.builders import a_new_job
from tests.sqs_events import MODEL, LambdaContext, as_event, event, failed_ids, send_bodies

SETTINGS = {
    "DATABASE_URL": "postgresql://unused",
    "STORE_QUEUE_URL": "store",
    "STORE_DLQ_URL": "store-dlq",
    "CONTENT_BUCKET": "content",
}


def job_id(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012d}"


def some_services() -> tuple[bootstrap.StoreServices, MemoryQueue]:
    """Two jobs of one chunk each, as the chunk stage leaves them."""
    database = MemoryDatabase()
    database.create_tenant("tenant-a", MODEL)
    for n in (1, 2):
        job = a_new_job(tenant_id="tenant-a", job_id=job_id(n), document_id=f"doc-{n}")
        database.jobs.admit(job, lambda _: OutboxRow("tenant-a", "chunk", "admitted", "{}"))
        ref = JobRef("tenant-a", job_id(n), 1, "default", f"doc-{n}", 1)
        chunk = NewChunk(0, 0, 4, "text", 3, "0" * 64)
        database.jobs.finish_chunking(ref, [chunk], [NewBatch(0, 0, 1)], [])
    queue = MemoryQueue("store", dlq=MemoryQueue("store-dlq"))
    services = bootstrap.StoreServices(
        database=database,
        inbox=queue,
        blobs=MemoryBlobs(),
        policy=RetryPolicy(),
        settings=StoreSettings.from_environment(SETTINGS),
    )
    return services, queue


def status(services: bootstrap.StoreServices, n: int) -> JobStatus:
    return services.database.jobs.get("tenant-a", job_id(n)).status


def test_stored_vectors_complete_their_jobs() -> None:
    services, _ = some_services()

    answer = app.handle(event("store_batch"), services)

    assert answer == {"batchItemFailures": []}
    assert [status(services, n) for n in (1, 2)] == ["succeeded", "succeeded"]


def test_a_second_delivery_has_no_second_effect() -> None:
    services, _ = some_services()
    app.handle(event("store_batch"), services)

    assert app.handle(event("store_batch"), services) == {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"vectors": "AAAA"}, "SCHEMA"),
        ({"vectors": "?"}, "SCHEMA"),
        ({"fingerprint": "0" * 64}, "MODEL_MISMATCH"),
    ],
)
def test_vectors_that_cannot_be_stored_fail_only_their_job(
    wrong: dict[str, Any], code: str
) -> None:
    services, queue = some_services()
    send_bodies(queue, "store_batch")
    batch = as_event(queue.receive(wait_s=0))
    batch["Records"][0]["body"] = json.dumps(json.loads(batch["Records"][0]["body"]) | wrong)

    answer = app.handle(batch, services)

    assert answer == {"batchItemFailures": []}
    assert [status(services, n) for n in (1, 2)] == ["failed", "succeeded"]
    assert queue.dlq is not None
    assert [copy.attributes["error_code"] for copy in queue.dlq.peek()] == [code]


def test_a_bug_in_one_record_brings_only_that_one_back(monkeypatch: pytest.MonkeyPatch) -> None:
    services, queue = some_services()
    send_bodies(queue, "store_batch")
    received = queue.receive(wait_s=0)
    store = services.database.jobs.store

    def faulty(batch: Any, *rest: Any) -> bool:
        if batch.job.job_id == job_id(1):
            raise RuntimeError
        return store(batch, *rest)

    monkeypatch.setattr(services.database.jobs, "store", faulty)

    answer = app.handle(as_event(received), services)

    assert failed_ids(answer) == [received[0].message_id]
    assert status(services, 2) is JobStatus.SUCCEEDED


def test_the_entry_point_wires_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    services, _ = some_services()
    monkeypatch.setattr(bootstrap, "store", lambda: services)

    answer = app.lambda_handler(event("store_batch"), LambdaContext())

    assert answer == {"batchItemFailures": []}
