"""Stuck jobs, and how an operator starts them again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import STAGES, ControlAction
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import QueueUnavailableError, StoreUnavailableError
from embedpipe.ports import Outgoing
from embedpipe.stages.snapshot import QUEUES, Sources
from embedpipe.stages.stuck import Reset, find_stuck, idle_jobs, reset_stuck

from tests.builders import MODEL, a_message, a_new_job

OLGA = Actor("globex", "olga")
RESET = Act(OLGA, "job.reset", "", "after the outage")
HOUR = 3600.0


class Cloud:
    """A database with a clock, and queues."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.database = MemoryDatabase(clock=lambda: datetime.now(UTC) + self.ahead)
        self.database.create_tenant("acme", MODEL)
        self.queues = {name: MemoryQueue(name) for name in QUEUES}
        self.dlqs = {stage: MemoryQueue(stage) for stage in STAGES}

    @property
    def sources(self) -> Sources:
        return Sources(self.database, self.queues, self.dlqs)

    def strand(self, count: int) -> list[str]:
        """Admit jobs whose message is sent, and lost, an hour ago."""
        ids = []
        for number in range(count):
            job = a_new_job(document_id=f"doc-{number}")
            ids.append(self.database.jobs.admit(job, lambda _, job=job: a_message(job)).job_id)  # type: ignore[misc]
            self.database.outbox.sent([a_message(job)])
        self.ahead += timedelta(seconds=HOUR)
        return ids

    def reset(self, limit: int = 100) -> Reset:
        idle = idle_jobs(self.sources, 60)
        found = find_stuck(self.database, idle, tenant_id=None, limit=limit)
        return reset_stuck(
            found, database=self.database, chunk_queue=self.queues["chunk"], act=RESET
        )


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def test_stuck_jobs_start_again_each_with_its_message_and_its_entry(cloud: Cloud) -> None:
    ids = cloud.strand(3)

    done = cloud.reset()

    entries = cloud.database.audits.list(actor="olga").items
    assert (list(done.matched), list(done.restarted), done.refused) == (ids, ids, 0)
    assert len(cloud.queues["chunk"].bodies()) == 3
    assert {entry.subject for entry in entries} == set(ids)
    assert {(e.action, e.result, e.note) for e in entries} == {
        ("job.reset", "restarted in epoch 2", "after the outage")
    }
    assert {row["epoch"] for row in cloud.database.rows("jobs")} == {2}


def test_a_restart_by_an_operator_lets_rescues_count_anew(cloud: Cloud) -> None:
    cloud.strand(1)
    [row] = cloud.database._state.jobs.values()
    row.rescues = 4

    cloud.reset()

    assert row.rescues == 0


def test_a_second_reset_finds_nothing(cloud: Cloud) -> None:
    cloud.strand(2)
    cloud.reset()

    assert cloud.reset() == Reset([], [])


def test_as_many_as_are_asked_for_are_found_over_pages(cloud: Cloud) -> None:
    ids = cloud.strand(250)
    idle = idle_jobs(cloud.sources, 60)

    some = find_stuck(cloud.database, idle, tenant_id="acme", limit=120)
    every = find_stuck(cloud.database, idle, tenant_id="acme", limit=1000)

    assert [one.job.job_id for one in some] == ids[:120]
    assert len(every) == 250


def test_one_that_moved_meanwhile_is_left_alone(cloud: Cloud) -> None:
    first, second = cloud.strand(2)
    idle = idle_jobs(cloud.sources, 60)
    found = find_stuck(cloud.database, idle, tenant_id=None, limit=10)
    cloud.database.jobs.begin_chunking(found[0].stalled.ref)

    done = reset_stuck(found, database=cloud.database, chunk_queue=cloud.queues["chunk"], act=RESET)

    assert (list(done.restarted), done.refused) == ([second], 1)
    assert cloud.database.jobs.get("acme", first).status is JobStatus.CHUNKING


def test_one_that_is_locked_does_not_hold_up_the_others(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = cloud.strand(3)
    restart = cloud.database.rescues.restart

    def locked(job, *arguments, **options):  # type: ignore[no-untyped-def]
        if job.ref.job_id == ids[0]:
            raise StoreUnavailableError
        return restart(job, *arguments, **options)

    monkeypatch.setattr(cloud.database.rescues, "restart", locked)

    done = cloud.reset()

    assert (list(done.restarted), done.refused) == (ids[1:], 1)


def test_without_the_queue_the_rows_wait_for_the_sweep(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.strand(2)

    def fail(_: object) -> None:
        raise QueueUnavailableError

    monkeypatch.setattr(cloud.queues["chunk"], "send", fail)

    done = cloud.reset()

    assert len(done.restarted) == 2
    assert len(cloud.database.rows("outbox")) == 2


@pytest.mark.parametrize(
    ("paused", "looked_at"),
    [
        ("submit", {"queued", "chunking", "embedding", "storing"}),
        ("chunk", {"embedding", "storing"}),
        ("embed", {"queued", "chunking"}),
        ("store", {"queued", "chunking"}),
    ],
)
def test_jobs_that_need_a_paused_stage_are_not_stuck(
    cloud: Cloud, paused: str, looked_at: set[str]
) -> None:
    act = Act(OLGA, "stage.pause", paused)
    cloud.database.controls.set(paused, ControlAction.PAUSE, act)

    idle = idle_jobs(cloud.sources, 60)

    assert {status.value for status in idle.statuses} == looked_at


@pytest.mark.parametrize(
    ("full", "emptied"),
    [
        ("chunk", {"embedding", "storing"}),
        ("embed_high", {"queued", "chunking"}),
        ("store", {"queued", "chunking"}),
    ],
)
def test_where_messages_wait_late_is_not_lost(cloud: Cloud, full: str, emptied: set[str]) -> None:
    cloud.queues[full].send([Outgoing("one", "{}", group_id="acme")])

    idle = idle_jobs(cloud.sources, 60)

    assert {status.value for status in idle.emptied} == emptied


def test_nothing_is_stuck_on_a_guess(cloud: Cloud) -> None:
    cloud.queues["store"].is_available = False

    with pytest.raises(QueueUnavailableError):
        idle_jobs(cloud.sources, 60)
