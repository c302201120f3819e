"""What operators do to jobs: reset, clean up, clear, skip; and the log of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.unit.api.client import Client

RESET = "/embeddings/orchestrator/reset-stuck"
CLEANUP = "/embeddings/orchestrator/cleanup"
CLEAR = "/embeddings/orchestrator/clear"
SKIP = "/embeddings/job/skip"
STATUS = "/embeddings/job/skip/status"
AUDIT = "/embeddings/audit"


def statuses(client: Client) -> list[str]:
    return sorted(row["status"] for row in client.database.rows("jobs"))


def acts(client: Client) -> list[tuple[str, str, str, str]]:
    items = client.send("GET", AUDIT).json["items"]
    return [(one["action"], one["subject"], one["result"], one["note"]) for one in items]


def lose(client: Client) -> str:
    """Submit a document and lose its message."""
    job_id = client.submit().json["job_id"]
    client.queue.ack(client.queue.receive(wait_s=0))
    return str(job_id)


# ----------------------------------------------------------------------------------- reset


def test_stuck_jobs_start_again() -> None:
    client = Client()
    job_id = lose(client)

    answer = client.send("POST", RESET, {"idle_seconds": 0, "note": "after the outage"})

    assert answer.json == {
        "matched": 1,
        "restarted": 1,
        "refused": 0,
        "dry_run": False,
        "job_ids": [job_id],
    }
    assert len(client.queue.bodies()) == 1
    assert acts(client) == [("job.reset", job_id, "restarted in epoch 2", "after the outage")]


def test_a_dry_reset_names_them_and_changes_nothing() -> None:
    client = Client()
    job_id = lose(client)
    before = client.everything()

    answer = client.send("POST", RESET, {"idle_seconds": 0, "dry_run": True})

    assert (answer.json["matched"], answer.json["restarted"]) == (1, 0)
    assert (answer.json["dry_run"], answer.json["job_ids"]) == (True, [job_id])
    assert client.everything() == before
    assert acts(client) == []


def test_without_the_queues_nothing_is_taken_for_stuck() -> None:
    client = Client()
    lose(client)
    client.queues["store"].is_available = False

    answer = client.send("POST", RESET, {"idle_seconds": 0})

    assert (answer.status, answer.json["code"]) == (503, "QUEUE_UNAVAILABLE")
    assert client.database.rows("jobs")[0]["epoch"] == 1


# ------------------------------------------------------------------------- cleanup, clear


def test_what_ended_long_ago_is_removed() -> None:
    client = Client()
    job_id = client.submit().json["job_id"]
    client.send("DELETE", f"/embeddings/jobs/{job_id}")

    young = client.send("POST", CLEANUP, {"days": 1}).json
    dry = client.send("POST", CLEANUP, {"days": 0, "dry_run": True}).json
    kept = len(client.database.rows("jobs"))
    done = client.send("POST", CLEANUP, {"days": 0, "note": "spring"}).json

    assert (young["jobs"], dry["jobs"], dry["dry_run"], kept) == (0, 1, True, 1)
    assert (done["jobs"], done["dry_run"], done["remaining"]) == (1, False, False)
    assert client.database.rows("jobs") == []
    [(action, subject, _, note)] = acts(client)
    assert (action, subject, note) == ("jobs.cleanup", "0 days", "spring")


@pytest.mark.parametrize("body", [{}, {"days": -1}, {"days": "1"}, {"days": 1, "all": True}])
def test_how_old_must_be_said(body: dict[str, Any]) -> None:
    assert Client().send("POST", CLEANUP, body).status == 422


def some_open_jobs() -> Client:
    """One in each of two collections, one of another tenant, one that succeeded."""
    client = Client()
    client.database.collections.create("default", "private", client.model, "")
    client.submit()
    client.submit(collection="private")
    key = client.database.create_key("other")
    client.send("POST", "/embeddings/jobs", {"content": "x"}, key=key)
    return client


def test_open_jobs_of_all_are_cancelled() -> None:
    client = some_open_jobs()

    answer = client.send("POST", CLEAR, {"note": "wrong folder"})

    assert answer.json == {"matched": 3, "cancelled": 3, "remaining": 0, "dry_run": False}
    assert statuses(client) == ["cancelled"] * 3
    assert acts(client) == [
        ("jobs.clear", "other", "1 cancelled", "wrong folder"),
        ("jobs.clear", "default", "2 cancelled", "wrong folder"),
    ]


@pytest.mark.parametrize(
    ("body", "count", "subject"),
    [
        ({"tenant": "default"}, 2, "default"),
        ({"tenant": "other"}, 1, "other"),
        ({"tenant": "default", "collection": "private"}, 1, "default/private"),
        ({"tenant": "nobody"}, 0, None),
    ],
)
def test_a_tenant_or_a_collection_is_cleared_without_the_others(
    body: dict[str, str], count: int, subject: str | None
) -> None:
    client = some_open_jobs()

    answer = client.send("POST", CLEAR, body)

    assert (answer.json["matched"], answer.json["cancelled"]) == (count, count)
    assert statuses(client).count("queued") == 3 - count
    assert [act[1] for act in acts(client)] == ([subject] if subject else [])


def test_a_dry_clear_counts_and_changes_nothing() -> None:
    client = some_open_jobs()
    before = client.everything()

    answer = client.send("POST", CLEAR, {"dry_run": True})

    assert answer.json == {"matched": 3, "cancelled": 0, "remaining": 3, "dry_run": True}
    assert client.everything() == before
    assert acts(client) == []


def test_what_is_admitted_while_jobs_are_cleared_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    client = some_open_jobs()
    cancel_open = client.database.skips.cancel_open

    def and_more_come(*args: Any, **named: Any) -> int:
        if len(client.database.rows("jobs")) < 9:
            client.submit()
        return cancel_open(*args, **named)

    monkeypatch.setattr("embedpipe.api.routes.repairs.PAGE", 1)
    monkeypatch.setattr(client.database.skips, "cancel_open", and_more_come)

    answer = client.send("POST", CLEAR, {"tenant": "default"}).json

    assert (answer["matched"], answer["cancelled"], answer["remaining"]) == (2, 2, 2)


def test_what_no_time_was_left_for_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    client = some_open_jobs()
    monkeypatch.setattr("embedpipe.api.routes.repairs.TIME_S", -1.0)

    answer = client.send("POST", CLEAR, {})

    assert answer.json == {"matched": 3, "cancelled": 0, "remaining": 3, "dry_run": False}


# ------------------------------------------------------------------------------------ skip


def test_a_job_of_any_tenant_is_skipped() -> None:
    client = Client()
    key = client.database.create_key("other")
    job_id = client.send("POST", "/embeddings/jobs", {"content": "x"}, key=key).json["job_id"]

    answer = client.send("POST", SKIP, {"job_id": job_id, "ttl_seconds": 60, "note": "poison"})

    body = answer.json
    status = client.send("GET", STATUS, query=f"job_id={job_id}").json
    job = client.send("GET", f"/embeddings/jobs/{job_id}", key=key).json
    assert answer.status == 200
    assert (body["skipped"], body["was_cancelled"], body["status"]) == (True, True, "cancelled")
    assert (body["tenant_id"], body["created_by"]) == ("other", status["created_by"])
    assert status == {
        "job_id": job_id,
        "skipped": True,
        "expires_at": body["expires_at"],
        "created_by": body["created_by"],
    }
    assert (job["status"], job["error"]["code"]) == ("cancelled", "SKIPPED")
    assert acts(client) == [("job.skip", job_id, "cancelled", "poison")]


def test_a_final_job_says_its_status_and_is_held_all_the_same() -> None:
    client = Client()
    job_id = client.submit().json["job_id"]
    client.send("DELETE", f"/embeddings/jobs/{job_id}")

    answer = client.send("POST", SKIP, {"job_id": job_id})

    assert (answer.status, answer.json["was_cancelled"]) == (200, False)
    assert answer.json["status"] == "cancelled"
    assert client.send("GET", STATUS, query=f"job_id={job_id}").json["skipped"] is True


def test_a_job_that_nobody_skipped_says_so() -> None:
    client = Client()
    job_id = client.submit().json["job_id"]

    answer = client.send("GET", STATUS, query=f"job_id={job_id}")

    assert answer.json == {
        "job_id": job_id,
        "skipped": False,
        "expires_at": None,
        "created_by": None,
    }


def test_a_job_that_there_is_not_is_not_found() -> None:
    client = Client()
    job_id = str(uuid4())

    answers = [
        client.send("POST", SKIP, {"job_id": job_id}),
        client.send("GET", STATUS, query=f"job_id={job_id}"),
    ]

    assert {(answer.status, answer.json["code"]) for answer in answers} == {(404, "JOB_NOT_FOUND")}
    assert acts(client) == []


@pytest.mark.parametrize(
    "change",
    [
        {"ttl_seconds": 59},
        {"ttl_seconds": 31_536_001},
        {"ttl_seconds": "60"},
        {"job_id": "one"},
        {"note": "n" * 1001},
        {"reason": "poison"},
    ],
)
def test_a_skip_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    answer = Client().send("POST", SKIP, {"job_id": str(uuid4()), **change})

    assert answer.status == 422


# ----------------------------------------------------------------------------------- audit


def test_the_log_is_read_in_pages_and_narrowed_down() -> None:
    client = Client()
    ids = [client.submit().json["job_id"] for _ in range(3)]
    for job_id in ids:
        client.send("POST", SKIP, {"job_id": job_id})
    client.send("POST", CLEAR, {})
    client.submit()
    client.send("POST", CLEAR, {})

    first = client.send("GET", AUDIT, query="action=job.skip&limit=2").json
    second = client.send("GET", AUDIT, query=f"action=job.skip&cursor={first['cursor']}").json
    nobody = client.send("GET", AUDIT, query="actor=nobody").json

    assert [one["subject"] for one in first["items"]] == [ids[2], ids[1]]
    assert [one["subject"] for one in second["items"]] == [ids[0]]
    assert (second["cursor"], nobody["items"]) == (None, [])
    assert len(acts(client)) == 4
    assert set(first["items"][0]) == {
        "audit_id",
        "tenant_id",
        "actor",
        "action",
        "subject",
        "result",
        "note",
        "at",
    }


def test_who_acted_is_named_by_the_id_of_the_key() -> None:
    client = Client()
    key = client.database.create_key("other", role="admin")
    job_id = client.submit().json["job_id"]

    client.send("POST", SKIP, {"job_id": job_id}, key=key)

    [entry] = client.send("GET", AUDIT).json["items"]
    assert (entry["tenant_id"], entry["actor"]) == ("other", key.split("_")[1])
