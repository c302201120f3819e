"""Messages that are broken, doubled or late."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.cloud import Cloud
from tests.e2e.texts import a_text

STAGES = ("Chunk", "Embed", "Store")
QUEUES = [f"{stage}Queue" for stage in STAGES]


@pytest.mark.parametrize("stage", STAGES)
def test_a_poison_message_reaches_the_dlq_and_its_neighbours_are_done(
    client: Client, queues: Queues, collection: str, stage: str
) -> None:
    queues.purge(f"{stage}Dlq")
    poison = json.dumps({"msg_version": 1, "what": f"poison for {stage}"})

    before = client.submit(collection, "A first good document.", "first")
    queues.send(f"{stage}Queue", poison)
    after = client.submit(collection, "A second good document.", "second")

    assert client.finished(before["job_id"])["status"] == "succeeded"
    assert client.finished(after["job_id"])["status"] == "succeeded"
    [rejected] = wait_until(lambda: queues.peek(f"{stage}Dlq"), what="the DLQ has the message")
    assert rejected["Body"] == poison
    assert rejected["MessageAttributes"]["error_code"]["StringValue"] == "SCHEMA"
    queues.purge(f"{stage}Dlq")


def test_a_job_waits_in_the_lane_of_its_priority_and_every_lane_is_served(
    cloud: Cloud, client: Client, queues: Queues, collection: str
) -> None:
    lanes = {"EmbedHighQueue": 90, "EmbedQueue": 50, "EmbedLowQueue": 10}
    with cloud.frozen(cloud.worker_pid()):
        jobs = {
            queue: client.submit(collection, a_text(priority, 40), queue, priority=priority)
            for queue, priority in lanes.items()
        }
        for job in jobs.values():
            client.in_status(job["job_id"], "embedding")
        wait_until(lambda: all(map(queues.count, lanes)), what="every lane has its messages")
        waiting = {queue: queues.count(queue) for queue in lanes}

    finished = [client.finished(job["job_id"]) for job in jobs.values()]

    assert waiting == dict.fromkeys(lanes, 1)
    assert {job["status"] for job in finished} == {"succeeded"}
    queues.wait_until_empty(lanes)


def test_messages_of_every_stage_delivered_again_change_nothing(
    cloud: Cloud, client: Client, queues: Queues, collection: str
) -> None:
    with cloud.frozen(cloud.worker_pid()):
        accepted = client.submit(collection, a_text(7, 700), "twice", metadata={"doc": "twice"})
        client.in_status(accepted["job_id"], "embedding")
        embed_messages = wait_until(
            lambda: [m["Body"] for m in queues.peek("EmbedQueue")], what="an embed message waits"
        )
    job = client.finished(accepted["job_id"])
    hits = client.search(collection, "river", top_k=100)

    queues.send("ChunkQueue", json.dumps(_chunk_message(embed_messages[0])))
    for body in embed_messages:
        queues.send("EmbedQueue", body)
        queues.send("StoreQueue", json.dumps(_store_message(body)))
    queues.wait_until_empty(QUEUES)

    assert job["status"] == "succeeded"
    assert client.job(accepted["job_id"]) == job
    assert client.search(collection, "river", top_k=100) == hits
    assert [queues.count(f"{stage}Dlq") for stage in STAGES] == [0, 0, 0]


def _chunk_message(embed_body: str) -> dict[str, Any]:
    of_a_batch = {"batch_no", "chunk_from", "chunk_count", "model_id", "fingerprint", "tokens"}
    message = {k: v for k, v in json.loads(embed_body).items() if k not in of_a_batch}
    return _renamed(message, "embedpipe.chunk.v1")


def _store_message(embed_body: str) -> dict[str, Any]:
    """Make a store message whose vectors differ from the stored ones."""
    message = {k: v for k, v in json.loads(embed_body).items() if k != "tokens"}
    dimensions = 384
    row = struct.pack("<f", 1.0) + bytes(4 * (dimensions - 1))
    vectors = base64.b64encode(row * message["chunk_count"]).decode()
    message |= {"dimensions": dimensions, "vectors": vectors}
    return _renamed(message, "embedpipe.store.v1")


def _renamed(message: dict[str, Any], name: str) -> dict[str, Any]:
    return message | {"msg_schema": name, "schema_url": f"/api/v1/schemas/{name}.json"}
