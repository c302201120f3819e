"""Dead letters over HTTP: what operators see, decide and put back."""

from __future__ import annotations

from typing import Any

import pytest
from embedpipe.adapters.sealing import sealer_of
from embedpipe.errors import PermanentError
from embedpipe.ports import Received

from tests.unit.api.client import Client

BASE = "/embeddings/dlq"
CANARY = "canary7f3a9c"


@pytest.fixture
def client() -> Client:
    return Client()


def reject(client: Client, count: int = 1, *, stage: str = "chunk", code: str = "POISON") -> None:
    for number in range(count):
        received = Received("m", "", f'{{"text":"{CANARY}","epoch":{number}}}', group_id="default")
        client.queues[stage].copy_to_dlq(received, PermanentError(code=code))


def listed(client: Client, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.send("GET", BASE, query=query).json["items"]
    return found


def refresh(client: Client, **body: Any) -> dict[str, Any]:
    answer = client.send("POST", f"{BASE}/refresh", body)
    assert answer.status == 200
    return dict(answer.json)


def decide(client: Client, entry_id: str, state: str, note: str = "", stage: str = "chunk") -> Any:
    body = {"stage": stage, "entry_id": entry_id, "state": state, "operator_note": note}
    return client.send("POST", f"{BASE}/state", body)


def approve_all(client: Client) -> None:
    for entry in listed(client, "count=500"):
        answer = decide(client, entry["entry_id"], "approved_for_requeue", "mended")
        assert answer.status == 200


class TestList:
    def test_a_refresh_shows_what_came_and_previews_show_no_text(self, client: Client) -> None:
        reject(client, 3)

        looked = refresh(client, stage="chunk")
        answer = client.send("GET", BASE)

        assert looked["stages"] == [
            {
                "stage": "chunk",
                "added": 3,
                "gone": 0,
                "put_back": 0,
                "failed_jobs": 0,
                "complete": True,
            }
        ]
        assert CANARY not in answer.body
        entry = answer.json["items"][0]
        assert (entry["error_code"], entry["failure_type"]) == ("POISON", "permanent")
        assert (entry["state"], entry["operator_note"], entry["expires_soon"]) == (
            "quarantined",
            "",
            False,
        )
        assert {one["preview"]["epoch"] for one in answer.json["items"]} == {0, 1, 2}
        assert entry["preview"]["text"] == f"<text of {len(CANARY)} characters>"

    def test_a_preview_whose_key_is_gone_is_left_out(self, client: Client) -> None:
        reject(client)
        refresh(client)
        assert client.services.dead_letters is not None
        vars(client.services.dead_letters)["sealer"] = sealer_of("other:" + "B" * 43)

        [entry] = listed(client)

        assert entry["preview"] is None

    def test_filters_apply_to_all_entries_and_older_names_are_taken(self, client: Client) -> None:
        reject(client, 12)
        reject(client, stage="store", code="SCHEMA")
        refresh(client)

        assert len(listed(client, "stage=storage&count=2")) == 1
        assert len(listed(client, "error_code=SCHEMA&count=1")) == 1
        assert len(listed(client, "state=quarantined&count=500")) == 13
        assert listed(client, "state=ignored") == listed(client, "tenant=other") == []

    def test_pages_are_as_long_as_asked_for(self, client: Client) -> None:
        reject(client, 60)
        refresh(client)

        first = client.send("GET", BASE)
        second = client.send("GET", BASE, query=f"cursor={first.json['cursor']}")

        assert (len(first.json["items"]), len(second.json["items"])) == (50, 10)
        assert second.json["cursor"] is None

    @pytest.mark.parametrize("count", ["0", "501", "x", "-1"])
    def test_a_count_that_is_out_of_range_is_refused(self, client: Client, count: str) -> None:
        assert client.send("GET", BASE, query=f"count={count}").status == 422


class TestState:
    @pytest.mark.parametrize("note", ["", "  \n"])
    def test_approval_needs_a_note(self, client: Client, note: str) -> None:
        reject(client)
        refresh(client)
        [entry] = listed(client)

        answer = decide(client, entry["entry_id"], "approved_for_requeue", note)

        assert (answer.status, answer.json["code"]) == (400, "NOTE_REQUIRED")
        assert listed(client) == [entry]

    def test_a_decision_is_shown_with_its_note_and_who_made_it(self, client: Client) -> None:
        reject(client)
        refresh(client)
        [entry] = listed(client)

        answer = decide(client, entry["entry_id"], "approved_for_requeue", "mended")

        assert answer.status == 200
        assert listed(client) == [answer.json]
        assert (answer.json["state"], answer.json["operator_note"]) == (
            "approved_for_requeue",
            "mended",
        )
        assert answer.json["changed_by"]

    def test_an_entry_that_is_not_there_is_not_found(self, client: Client) -> None:
        answer = decide(client, "unknown", "ignored")

        assert (answer.status, answer.json["code"]) == (404, "DLQ_ENTRY_NOT_FOUND")

    def test_nobody_can_say_that_it_was_put_back(self, client: Client) -> None:
        assert decide(client, "x", "requeued").status == 422


class TestRequeue:
    def send(self, client: Client, **body: Any) -> Any:
        return client.send("POST", f"{BASE}/requeue", {"stage": "chunk", **body})

    def test_what_is_not_approved_is_refused(self, client: Client) -> None:
        reject(client)
        refresh(client)
        [entry] = listed(client)

        for is_dry in (True, False):
            answer = self.send(client, entry_id=entry["entry_id"], dry_run=is_dry)
            assert (answer.status, answer.json["code"]) == (409, "NOT_APPROVED")
        assert client.queue.backlog() == 0

    def test_an_approved_entry_goes_back_and_leaves_the_list(self, client: Client) -> None:
        reject(client)
        body = client.dlqs["chunk"].bodies()
        refresh(client)
        approve_all(client)
        [entry] = listed(client)

        answer = self.send(client, entry_id=entry["entry_id"])

        assert answer.json == {
            "matched": 1,
            "requeued": 1,
            "refused": [],
            "remaining": 0,
            "retry_after_s": 0,
            "dry_run": False,
        }
        assert client.queue.bodies() == body
        assert (client.dlqs["chunk"].backlog(), listed(client)) == (0, [])

    def test_a_failed_job_starts_again(self, client: Client) -> None:
        submitted = client.submit().json
        row = client.database.rows("jobs")[0]
        body = client.queue.bodies()[0]
        [received] = client.queue.receive(wait_s=0)
        client.queue.copy_to_dlq(received, PermanentError(code="UNCHUNKABLE"))
        client.queue.ack([received])
        refresh(client)
        assert client.send("GET", f"/embeddings/jobs/{submitted['job_id']}").json["status"] == (
            "failed"
        )
        approve_all(client)

        self.send(client)

        assert client.queue.bodies() == [body]
        job = client.send("GET", f"/embeddings/jobs/{submitted['job_id']}").json
        assert (job["status"], job["error"], row["epoch"]) == ("queued", None, 1)

    def test_a_filter_names_what_goes_and_the_limit_how_much(self, client: Client) -> None:
        reject(client, 5, code="A")
        reject(client, 3, code="B")
        refresh(client)
        approve_all(client)

        dry = self.send(client, filter={"error_code": "A"}, dry_run=True).json
        done = self.send(client, filter={"error_code": "A"}, limit=2).json

        assert (dry["matched"], dry["requeued"], dry["remaining"], dry["dry_run"]) == (
            5,
            0,
            5,
            True,
        )
        assert (done["matched"], done["requeued"], done["remaining"]) == (5, 2, 3)
        assert client.queue.backlog() == 2

    def test_an_entry_and_a_filter_contradict(self, client: Client) -> None:
        answer = self.send(client, entry_id="x", filter={})

        assert (answer.status, answer.json["code"]) == (422, "ENTRY_OR_FILTER")

    def test_a_message_may_stay_in_the_queue(self, client: Client) -> None:
        reject(client)
        refresh(client)
        approve_all(client)

        self.send(client, delete_from_dlq=False)

        [entry] = listed(client)
        assert entry["state"] == "quarantined"
        assert client.dlqs["chunk"].backlog() == client.queue.backlog() == 1

    def test_an_obsolete_entry_is_named(self, client: Client) -> None:
        job_id = client.submit().json["job_id"]
        [row] = client.database.rows("jobs")
        client.send("DELETE", f"/embeddings/jobs/{job_id}")
        [received] = client.queue.receive(wait_s=0)
        client.queue.copy_to_dlq(received, PermanentError())
        refresh(client)
        approve_all(client)

        done = self.send(client).json

        assert [one["code"] for one in done["refused"]] == ["DLQ_ENTRY_OBSOLETE"]
        assert (done["remaining"], row["job_id"]) == (0, job_id)


class TestRedrive:
    def send(self, client: Client, **body: Any) -> Any:
        return client.send("POST", f"{BASE}/redrive", {"stage": "chunk", **body})

    def test_a_dry_run_counts_and_begins_nothing(self, client: Client) -> None:
        reject(client, 3)

        answer = self.send(client, dry_run=True)

        assert (answer.status, answer.json["status"], answer.json["to_move"]) == (202, "dry_run", 3)
        assert client.send("GET", f"{BASE}/redrive", query="stage=chunk").status == 404

    def test_it_needs_a_note(self, client: Client) -> None:
        answer = self.send(client)

        assert (answer.status, answer.json["code"]) == (400, "NOTE_REQUIRED")

    def test_all_goes_back_and_can_be_followed(self, client: Client) -> None:
        reject(client, 25)

        answer = self.send(client, operator_note="mended")
        followed = client.send("GET", f"{BASE}/redrive", query="stage=chunking")

        assert answer.status == 202
        assert answer.json == followed.json
        told = {key: answer.json[key] for key in ("status", "native", "moved", "remaining")}
        assert told == {"status": "completed", "native": False, "moved": 25, "remaining": 0}
        assert client.queue.backlog() == 25

    def test_what_takes_longer_than_a_request_goes_on_with_the_next(self, client: Client) -> None:
        reject(client, 30)
        assert client.services.dead_letters is not None
        vars(client.services.dead_letters)["request_s"] = 0.0

        begun = self.send(client, operator_note="mended", max_per_second=500).json
        vars(client.services.dead_letters)["request_s"] = 5.0
        done = self.send(client, operator_note="mended").json

        assert (begun["status"], begun["remaining"]) == ("running", 30)
        assert (done["status"], done["redrive_id"]) == ("completed", begun["redrive_id"])

    def test_who_asks_for_one_that_is_over_begins_no_other(self, client: Client) -> None:
        reject(client, 3)
        over = self.send(client, operator_note="mended").json
        reject(client, 2)

        again = self.send(client, redrive_id=over["redrive_id"])
        unknown = self.send(client, redrive_id="018f3c1e-7d7a-7c31-9a58-0d3f6a1b2c3d")

        assert (again.status, again.json) == (202, over)
        assert (unknown.status, unknown.json["code"]) == (404, "REDRIVE_NOT_FOUND")
        assert client.dlqs["chunk"].backlog() == 2

    def test_it_can_be_cancelled_while_it_runs(self, client: Client) -> None:
        reject(client, 5)
        assert client.services.dead_letters is not None
        vars(client.services.dead_letters)["request_s"] = 0.0
        self.send(client, operator_note="mended")

        cancelled = client.send("POST", f"{BASE}/redrive/cancel", {"stage": "chunk"})
        again = client.send("POST", f"{BASE}/redrive/cancel", {"stage": "chunk"})

        assert (cancelled.status, cancelled.json["status"]) == (200, "cancelled")
        assert (again.status, again.json["code"]) == (409, "REDRIVE_NOT_RUNNING")
        assert client.dlqs["chunk"].backlog() == 5


def test_every_act_is_written_down_and_no_look_is(client: Client) -> None:
    reject(client, 2)
    refresh(client)
    approve_all(client)
    client.send("POST", f"{BASE}/requeue", {"stage": "chunk", "limit": 1})
    client.send("POST", f"{BASE}/redrive", {"stage": "chunk", "operator_note": "rest"})

    acts = [row["action"] for row in client.database.rows("audit_log")]

    assert acts == ["dlq.state", "dlq.state", "dlq.requeue", "dlq.redrive"]


def test_the_body_of_a_job_is_never_in_an_answer(client: Client) -> None:
    client.submit()
    [received] = client.queue.receive(wait_s=0)
    client.queue.copy_to_dlq(received, PermanentError())
    refresh(client)

    [entry] = listed(client)

    assert entry["preview"]["document_id"]
    assert entry["preview"]["schema_url"].startswith("<text of ")
