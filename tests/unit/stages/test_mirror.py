"""What a look at a DLQ finds, changes and leaves as it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from embedpipe.domain.dead_letters import MAX_PUT_BACK, RETENTION, EntryState
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.errors import QueueUnavailableError
from embedpipe.ports.sealing import Place
from embedpipe.stages.dead_letters import DeadLetterParts, mirror_all

from tests.builders import a_chunked_job, admit
from tests.unit.stages.dead_letter_desk import ACT, UNSEALED, Desk, a_body, times


def test_a_rejected_message_is_mirrored_sealed_with_what_its_body_names() -> None:
    desk = Desk()
    ref = admit(desk.database)
    desk.database.jobs.fail(ref, JobError("POISON_CHUNK", "permanent", ""))
    body = a_body(ref)
    desk.reject(body)

    done = desk.mirror()

    [entry] = desk.entries()
    assert (done.added, done.is_complete) == (1, True)
    assert (entry.tenant_id, entry.job_id, entry.epoch) == ("acme", ref.job_id, 1)
    assert (entry.error_code, entry.failure_type) == ("POISON_CHUNK", "permanent")
    assert (entry.state, entry.body_bytes) == (EntryState.QUARANTINED, len(body))
    assert entry.expires_at - entry.sent_at == RETENTION
    place = Place("chunk", entry.entry_id, "acme")
    [row] = desk.database.rows("dlq_entries")
    assert desk.sealer.open(row["entry"]["body"], place, entry.key_id).decode() == body
    assert body.encode() not in row["entry"]["body"]
    assert entry.preview is not None
    shown = desk.sealer.open(entry.preview, replace(place, part="preview"), entry.key_id)
    assert json.loads(shown)["job_id"] == ref.job_id


def test_without_a_key_the_body_is_kept_as_it_is_and_there_is_no_preview() -> None:
    desk = Desk(sealer=UNSEALED)
    desk.reject("not json")

    desk.mirror()

    [entry] = desk.entries()
    [row] = desk.database.rows("dlq_entries")
    assert (entry.preview, entry.key_id) == (None, None)
    assert row["entry"]["body"] == b"not json"


def test_what_was_looked_at_is_visible_again_and_not_received_a_second_time() -> None:
    desk = Desk()
    for number in range(25):
        desk.reject(f"body {number}")
    desk.mirror()

    desk.mirror()

    assert desk.dlq.depth == 25
    assert {message.receive_count for message in desk.dlq.peek()} == {1}


def test_a_tenant_is_named_only_when_it_has_the_job() -> None:
    desk = Desk()
    ref = admit(desk.database)
    desk.reject(a_body(replace(ref, tenant_id="globex")))

    desk.mirror()

    [entry] = desk.entries()
    assert (entry.tenant_id, entry.job_id) == (None, ref.job_id)


def test_a_job_that_a_crash_kept_from_failing_fails_with_the_reason() -> None:
    desk = Desk()
    ref = admit(desk.database)
    desk.reject(a_body(ref), code="UNCHUNKABLE")

    done = desk.mirror()

    job = desk.database.jobs.get("acme", ref.job_id)
    assert done.failed_jobs == 1
    assert job.error is not None
    assert (job.status, job.error.code) == (JobStatus.FAILED, "UNCHUNKABLE")


def test_a_job_that_an_operator_put_back_is_left_alone() -> None:
    desk = Desk()
    ref = admit(desk.database)
    desk.reject(a_body(ref))
    desk.mirror()
    desk.approve_all()
    [entry] = desk.entries()
    desk.requeue().one(entry.entry_id, ACT, keeps=True, is_dry=False)
    desk.reject("another", code="SCHEMA")

    done = desk.mirror()

    job = desk.database.jobs.get("acme", ref.job_id)
    assert done.failed_jobs == 0
    assert (job.status, job.epoch) == (JobStatus.QUEUED, 2)


def test_a_message_whose_receives_were_spent_goes_back_and_counts() -> None:
    desk = Desk()
    body = a_body(admit(desk.database))
    desk.spend(body, mine="kept")

    done = desk.mirror()

    [back] = desk.source.peek()
    assert (done.put_back, done.added, desk.dlq.backlog()) == (1, 0, 0)
    assert (back.body, back.group_id) == (body, "acme")
    assert back.attributes == {"mine": "kept", "put_back": "1"}


def test_after_a_few_times_its_job_fails() -> None:
    desk = Desk()
    ref = admit(desk.database)
    desk.spend(a_body(ref), put_back=str(MAX_PUT_BACK))

    done = desk.mirror()

    job = desk.database.jobs.get("acme", ref.job_id)
    [entry] = desk.entries()
    assert (done.put_back, done.failed_jobs, desk.dlq.backlog()) == (0, 1, 1)
    assert job.error is not None
    assert job.error.code == entry.error_code == "RECEIVES_SPENT"
    assert entry.put_back == MAX_PUT_BACK


def test_a_message_that_no_job_waits_for_stays() -> None:
    desk = Desk("embed")
    job = a_chunked_job(desk.database)
    desk.spend(a_body(replace(job.ref, epoch=7)))
    desk.spend("not json")
    desk.database.jobs.cancel("acme", job.ref.job_id)
    desk.spend(a_body(job.ref))

    done = desk.mirror()

    assert (done.added, done.put_back, done.failed_jobs) == (3, 0, 0)
    assert {entry.error_code for entry in desk.entries()} == {None}


def test_what_left_the_queue_leaves_the_mirror() -> None:
    desk = Desk()
    for number in range(3):
        desk.reject(f"body {number}")
    desk.mirror()
    desk.dlq.ack(desk.dlq.receive(max_messages=2))

    done = desk.mirror()

    assert (done.gone, len(desk.entries())) == (2, 1)


def test_what_somebody_holds_is_not_taken_for_gone() -> None:
    desk = Desk()
    for number in range(3):
        desk.reject(f"body {number}")
    desk.mirror()
    desk.dlq.receive(max_messages=2)
    desk.reject("new")

    done = desk.mirror()

    assert (done.added, done.gone, len(desk.entries())) == (1, 0, 4)


def test_an_empty_queue_empties_the_mirror_without_a_receive() -> None:
    desk = Desk()
    desk.reject("body")
    desk.mirror()
    desk.dlq.clear()

    done = desk.mirror(times(0))

    assert (done.gone, desk.entries()) == (1, [])


def test_a_put_back_message_that_still_lies_there_is_removed() -> None:
    desk = Desk()
    desk.reject("body")
    desk.mirror()
    desk.approve_all()
    [entry] = desk.entries()
    desk.dlq.receive()  # somebody holds it, so that the requeue cannot remove it
    desk.requeue().one(entry.entry_id, ACT, keeps=False, is_dry=False)
    assert desk.dlq.backlog() == 1
    desk.clock.sleep(60)

    done = desk.mirror()

    assert (done.removed, desk.dlq.backlog(), desk.entries()) == (1, 0, [])


def test_a_long_scan_goes_on_where_the_last_run_stopped() -> None:
    desk = Desk()
    for number in range(35):
        desk.reject(f"body {number}")

    runs = [desk.mirror(times(2), is_resumed=True) for _ in range(3)]
    desk.dlq.ack(desk.dlq.receive(max_messages=10))

    assert [run.added for run in runs] == [20, 15, 0]
    assert len(desk.entries()) == 35
    assert {message.receive_count for message in desk.dlq.peek()} == {1}


def test_a_queue_that_is_away_keeps_no_other_from_its_turn() -> None:
    away, there = Desk(), Desk("store")
    away.dlq.is_available = False
    there.reject("body")

    with pytest.raises(QueueUnavailableError):
        mirror_all(
            DeadLetterParts(
                {"chunk": away.letters, "store": there.letters}, there.sealer, there.pace
            ),
            database=there.database,
            queues=there.queues,
            has_time=lambda: True,
        )

    assert len(there.entries()) == 1


def test_maintenance_tells_what_it_did_and_what_expires() -> None:
    desk = Desk()
    desk.spend(a_body(admit(desk.database)))
    desk.reject("body")

    counts = mirror_all(
        DeadLetterParts({"chunk": desk.letters}, desk.sealer, desk.pace),
        database=desk.database,
        queues=desk.queues,
        has_time=lambda: True,
    )

    assert counts == {
        "dlq_added": 1,
        "dlq_gone": 0,
        "dlq_put_back": 1,
        "dlq_failed_jobs": 0,
        "dlq_moved": 0,
        "dlq_expiring": 0,
    }
