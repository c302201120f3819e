"""Work that is killed or cancelled on its way."""

from __future__ import annotations

import os
import signal

from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.cloud import Cloud
from tests.e2e.texts import a_text

QUEUES = ("ChunkQueue", "EmbedQueue", "StoreQueue")


def test_a_worker_killed_in_the_middle_loses_and_doubles_nothing(
    cloud: Cloud, client: Client, queues: Queues, collection: str
) -> None:
    client.store(collection, "The worker's long poll from before is over now.", "first")
    names = [f"doc-{number}" for number in range(4)]
    jobs = {
        name: client.submit(collection, a_text(number, 1200), name, metadata={"doc": name})
        for number, name in enumerate(names)
    }
    wait_until(lambda: queues.in_flight("EmbedQueue"), what="the worker has work", pause_s=0.01)
    killed = cloud.worker_pid()

    os.kill(killed, signal.SIGKILL)
    finished = {name: client.finished(job["job_id"], 100) for name, job in jobs.items()}

    wait_until(client.is_healthy, what="the worker is started again")
    assert cloud.worker_pid() != killed
    for name, job in finished.items():
        assert job["status"] == "succeeded", job
        total = job["progress"]["chunks_total"]
        assert client.chunks_of(collection, name) == list(range(total))
    stored = sum(job["progress"]["chunks_total"] for job in finished.values())
    assert client.statistics(collection)["chunks"] == stored + 1


def test_a_job_cancelled_before_it_is_cut_leaves_nothing(
    cloud: Cloud, client: Client, queues: Queues, collection: str
) -> None:
    with cloud.frozen(*cloud.endpoint()["pids"]["functions"]["chunk"]):
        job_id = client.submit(collection, a_text(1, 500), "early")["job_id"]
        cancelled = client.cancel(job_id)

    queues.wait_until_empty(QUEUES)
    assert cancelled.status_code == 200
    _assert_cancelled(client, collection, job_id)


def test_a_job_cancelled_before_it_is_embedded_leaves_nothing(
    cloud: Cloud, client: Client, queues: Queues, collection: str
) -> None:
    with cloud.frozen(cloud.worker_pid()):
        job_id = client.submit(collection, a_text(2, 500), "middle")["job_id"]
        client.in_status(job_id, "embedding")
        cancelled = client.cancel(job_id)

    queues.wait_until_empty(QUEUES)
    assert cancelled.status_code == 200
    _assert_cancelled(client, collection, job_id)


def test_a_job_cancelled_while_it_is_stored_leaves_nothing(
    client: Client, queues: Queues, collection: str
) -> None:
    job_id = client.submit(collection, a_text(3, 40_000), "late")["job_id"]
    job = client.in_status(job_id, "storing")
    cancelled = client.cancel(job_id)

    queues.wait_until_empty(QUEUES)
    assert job["progress"]["chunks_stored"] > 0
    assert cancelled.status_code == 200
    _assert_cancelled(client, collection, job_id)


def _assert_cancelled(client: Client, collection: str, job_id: str) -> None:
    assert client.job(job_id)["status"] == "cancelled"
    assert client.cancel(job_id).status_code == 409
    assert client.search(collection, "anything", top_k=100) == []
    assert client.statistics(collection)["chunks"] == 0
