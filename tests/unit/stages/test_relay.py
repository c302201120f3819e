from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.domain.lanes import QUEUES
from embedpipe.errors import QueueUnavailableError
from embedpipe.ports import OutboxRow, Outgoing
from embedpipe.stages.relay import relay, sweep

from tests.builders import MODEL, a_new_job


class BrokenQueue(MemoryQueue):
    """A queue that refuses by no fault of the network, as without a permission."""

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        raise ValueError("refused")


def some_rows(count: int, *queues: str) -> tuple[MemoryDatabase, list[OutboxRow]]:
    """Rows that nobody sent in time, those of the first queue oldest."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    database = MemoryDatabase(clock=lambda: now)
    database.create_tenant("acme", MODEL)
    rows = [OutboxRow("acme", queue, f"{n}", f'"{n}"') for queue in queues for n in range(count)]
    for number, row in enumerate(rows):
        now += timedelta(seconds=1)
        job = a_new_job(document_id=f"doc-{number}")
        database.jobs.admit(job, lambda _, row=row: row)  # type: ignore[misc]
    now += timedelta(minutes=1)
    return database, rows


@pytest.mark.parametrize("kind", [MemoryQueue, BrokenQueue])
def test_a_queue_that_fails_does_not_keep_the_rows_of_another(kind: type[MemoryQueue]) -> None:
    database, rows = some_rows(2, "chunk", "embed")
    chunk, embed = kind("chunk"), MemoryQueue("embed")
    chunk.is_available = False

    with pytest.raises((QueueUnavailableError, ValueError)):
        relay(rows, outbox=database.outbox, queues={"chunk": chunk, "embed": embed})

    assert len(embed.bodies()) == 2
    assert {row["queue"] for row in database.rows("outbox")} == {"chunk"}


def test_a_sweep_sends_the_rows_of_every_lane() -> None:
    database, _ = some_rows(3, *QUEUES.values())
    queues = {name: MemoryQueue(name) for name in QUEUES.values()}

    total = sweep(outbox=database.outbox, queues=queues, page=2)

    assert total == 9
    assert {name: len(queue.bodies()) for name, queue in queues.items()} == dict.fromkeys(queues, 3)
    assert not database.rows("outbox")


@pytest.mark.parametrize("kind", [MemoryQueue, BrokenQueue])
def test_a_sweep_gets_past_the_rows_of_a_queue_that_fails(kind: type[MemoryQueue]) -> None:
    database, _ = some_rows(5, "chunk", "embed")
    chunk, embed = kind("chunk"), MemoryQueue("embed")
    chunk.is_available = False

    with pytest.raises((QueueUnavailableError, ValueError)):
        sweep(outbox=database.outbox, queues={"chunk": chunk, "embed": embed}, page=2)

    assert len(embed.bodies()) == 5
