"""Dead letters through the whole cloud: seen, refused, approved, put back, and then done."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.cloud import Cloud
from tests.e2e.test_deliveries import _store_message
from tests.e2e.texts import a_text

DLQ = "/embeddings/dlq"


def post(client: Client, path: str, **body: Any) -> Any:
    return client.request("POST", f"{DLQ}/{path}", json=body)


def entries_of(client: Client, **query: Any) -> list[dict[str, Any]]:
    post(client, "refresh")
    found: list[dict[str, Any]] = client.request("GET", DLQ, params=query).json()["items"]
    return found


def approve(client: Client, entry: dict[str, Any]) -> None:
    answer = post(
        client,
        "state",
        stage=entry["stage"],
        entry_id=entry["entry_id"],
        state="approved_for_requeue",
        operator_note="mended",
    )
    assert answer.status_code == 200, answer.text


def test_a_poisoned_job_is_put_back_and_succeeds_once_its_cause_is_mended(
    cloud: Cloud, client: Client, queues: Queues, collection: str
) -> None:
    with cloud.frozen(cloud.worker_pid()):
        job_id = client.submit(collection, a_text(3, 300), "poisoned")["job_id"]
        client.in_status(job_id, "embedding")
        [message] = wait_until(
            lambda: [
                m["Body"]
                for m in queues.peek("EmbedQueue")
                if json.loads(m["Body"])["job_id"] == job_id
            ],
            what="an embed message waits",
        )
        poison = json.loads(json.dumps(_store_message(message))) | {"dimensions": 3}
        queues.send("StoreQueue", json.dumps(poison))
        assert client.in_status(job_id, "failed")["error"]["code"]
    [entry] = wait_until(lambda: entries_of(client, job_id=job_id), what="the entry is listed")

    refused = post(client, "requeue", stage="store", entry_id=entry["entry_id"])
    approve(client, entry)
    done = post(client, "requeue", stage="store", entry_id=entry["entry_id"]).json()

    assert (refused.status_code, refused.json()["code"]) == (409, "NOT_APPROVED")
    assert (done["matched"], done["requeued"]) == (1, 1)
    assert client.finished(job_id)["status"] == "succeeded"
    assert entries_of(client, job_id=job_id) == []
    assert "river" not in json.dumps(entry["preview"])


def test_strangers_messages_go_back_by_filter_and_by_queue_and_come_again(
    client: Client, queues: Queues
) -> None:
    mark = uuid4().hex
    for number in range(6):
        queues.send("ChunkQueue", json.dumps({"stranger": mark, "n": number}))
    found = wait_until(
        lambda: len(entries_of(client, stage="chunk", error_code="SCHEMA")) >= 6,
        what="the entries are listed",
    )
    entries = entries_of(client, stage="chunk", error_code="SCHEMA")
    for entry in entries[:3]:
        approve(client, entry)

    dry = post(client, "requeue", stage="chunk", filter={"error_code": "SCHEMA"}, dry_run=True)
    done = post(client, "requeue", stage="chunk", filter={"error_code": "SCHEMA"})
    wait_until(
        lambda: queues.count("ChunkQueue") == 0 and queues.count("ChunkDlq") >= 6,
        what="they were rejected again",
    )
    redrive = post(client, "redrive", stage="chunk", operator_note="once more")
    wait_until(lambda: _is_over(client, redrive.json()["redrive_id"]), what="the redrive is over")
    wait_until(
        lambda: queues.count("ChunkQueue") == 0 and queues.count("ChunkDlq") >= 6,
        what="they were rejected once more",
    )

    assert found
    assert (dry.json()["matched"], dry.json()["requeued"]) == (3, 0)
    assert done.json()["requeued"] == 3
    assert redrive.status_code == 202
    assert redrive.json()["status"] in ("completed", "running")
    wait_until(lambda: _is_empty(client, queues), what="the purged queue is purged in the mirror")


def _is_over(client: Client, redrive_id: str) -> bool:
    asked = {"stage": "chunk", "operator_note": "go on"}
    found = post(client, "redrive", **asked, redrive_id=redrive_id).json()
    if found["moved"] > found["to_move"]:
        post(client, "redrive/cancel", **asked)
    return found["status"] in ("completed", "cancelled")


def _is_empty(client: Client, queues: Queues) -> bool:
    # What was on its way when the queue was purged comes later.
    queues.purge("ChunkDlq")
    return not entries_of(client, stage="chunk")
