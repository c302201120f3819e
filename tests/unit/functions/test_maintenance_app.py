from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
from embedpipe import bootstrap, telemetry
from embedpipe.adapters.memory import FakeModels, MemoryBlobs, MemoryDatabase, MemoryQueue
from embedpipe.adapters.memory.event_sources import MemoryEventSources
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import OutboxRow
from embedpipe.settings import MaintenanceSettings

from functions.maintenance import app
from tests.builders import a_new_job
from tests.sqs_events import LambdaContext, event

SETTINGS = {
    "DATABASE_URL": "postgresql://unused",
    "CHUNK_QUEUE_URL": "chunk",
    "CONTENT_BUCKET": "content",
    "EMBED_QUEUE_URL": "embed",
    "STORE_QUEUE_URL": "store",
    "CHUNK_DLQ_URL": "chunk-dlq",
    "EMBED_DLQ_URL": "embed-dlq",
    "STORE_DLQ_URL": "store-dlq",
}


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def some_services(*, left: int) -> tuple[bootstrap.MaintenanceServices, MemoryQueue]:
    """Jobs whose message nobody sent in time."""
    clock = Clock()
    database = MemoryDatabase(clock=clock)
    database.create_tenant("tenant-a", FakeModels().get("fake"))
    for n in range(left):
        job = a_new_job(
            tenant_id="tenant-a", job_id=f"00000000-0000-4000-8000-{n:012d}", document_id=f"doc-{n}"
        )
        row = OutboxRow("tenant-a", "chunk", f"{n}", f'"{n}"')
        database.jobs.admit(job, lambda _, row=row: row)  # type: ignore[misc]
    clock.now += timedelta(seconds=31)
    queues = {name: MemoryQueue(name) for name in ("chunk", *EMBED_QUEUES.values(), "store")}
    services = bootstrap.MaintenanceServices(
        database=database,
        queues={**queues},
        blobs=MemoryBlobs(),
        settings=MaintenanceSettings.from_environment(SETTINGS),
    )
    return services, queues["chunk"]


def own_line(out: str) -> dict[str, Any]:
    """Give the metrics of maintenance itself; the gauges of each stage are lines of their own."""
    found = [json.loads(line) for line in out.splitlines() if "_aws" in line]
    [line] = [line for line in found if line["stage"] == "maintenance"]
    assert {line["stage"] for line in found} <= {"chunk", "embed", "store", "maintenance"}
    return dict(line)


def test_rows_that_nobody_sent_are_sent() -> None:
    services, queue = some_services(left=25)

    answer = app.handle(event("maintenance_sweep"), services)

    assert (answer["relayed"], answer["rescued"], answer["given_up"]) == (25, 0, 0)
    assert answer["failed"] == {}
    assert sorted(queue.bodies()) == sorted(f'"{n}"' for n in range(25))


def test_a_second_sweep_sends_nothing_again() -> None:
    services, queue = some_services(left=3)
    app.handle(event("maintenance_sweep"), services)

    assert app.handle(event("maintenance_sweep"), services)["relayed"] == 0
    assert len(queue.bodies()) == 3


def test_an_outage_of_the_queue_loses_no_row() -> None:
    services, queue = some_services(left=3)
    queue.is_available = False

    answer = app.handle(event("maintenance_sweep"), services)

    assert answer["failed"]["sweep"] == "QUEUE_UNAVAILABLE"
    assert isinstance(services.database, MemoryDatabase)
    assert len(services.database.rows("outbox")) == 3


def test_the_entry_point_counts_what_it_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    services, _ = some_services(left=3)
    monkeypatch.setattr(bootstrap, "maintenance", lambda: services)
    telemetry.of("maintenance").metrics.clear_metrics()

    answer = app.lambda_handler(event("maintenance_sweep"), LambdaContext())

    line = own_line(capsys.readouterr().out)
    assert answer["relayed"] == 3
    assert line["OutboxRowsRelayed"] == [3.0]


def test_a_part_that_fails_is_named_and_the_others_do_their_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services, _ = some_services(left=0)
    orphan = services.blobs.put("documents/tenant-a/left", b"text")
    assert isinstance(services.blobs, MemoryBlobs)
    services.blobs.changed_at[orphan] -= timedelta(days=2)

    def away(**_: object) -> NoReturn:
        raise StoreUnavailableError

    monkeypatch.setattr(services.database.housekeeping, "finished", away)

    answer = app.handle(event("maintenance_sweep"), services)

    assert answer["failed"] == {"cleanup": "STORE_UNAVAILABLE"}
    assert answer["removed_orphans"] == 1


def test_parts_without_time_are_left_to_the_next_run() -> None:
    services, queue = some_services(left=3)
    services.blobs.put("documents/tenant-a/left", b"text")

    answer = app.handle(event("maintenance_sweep"), services, left_s=lambda: 0.0)

    assert set(answer["failed"].values()) == {"NO_TIME_LEFT"}
    assert queue.bodies() == []


def test_the_compactor_can_be_switched_off() -> None:
    services, _ = some_services(left=0)
    settings = MaintenanceSettings.from_environment(
        {**SETTINGS, "EMBEDDINGS_COMPACTOR_ENABLED": "false"}
    )

    answer = app.handle(event("maintenance_sweep"), replace(services, settings=settings))

    assert "compacted_chunks" not in answer
    assert answer["failed"] == {}


def test_the_entry_point_counts_what_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    services, queue = some_services(left=3)
    queue.is_available = False
    monkeypatch.setattr(bootstrap, "maintenance", lambda: services)
    telemetry.of("maintenance").metrics.clear_metrics()

    app.lambda_handler(event("maintenance_sweep"), LambdaContext())

    line = own_line(capsys.readouterr().out)
    assert line["MaintenancePartsFailed"] == [1.0]


def test_an_event_source_that_is_not_as_its_control_says_is_switched() -> None:
    services, _ = some_services(left=0)
    sources = MemoryEventSources()
    services = replace(services, event_sources=sources)
    act = Act(Actor("default", "key"), "stage.pause", "chunk")
    services.database.controls.set("chunk", ControlAction.PAUSE, act)

    first = app.handle(event("maintenance_sweep"), services)
    again = app.handle(event("maintenance_sweep"), services)

    assert (first["aligned"], again["aligned"]) == (1, 0)
    assert sources.states() == {"chunk": "Disabled", "store": "Enabled"}
