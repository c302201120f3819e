"""Maintenance that runs several times at once, as its schedule may let it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from embedpipe.adapters.memory import MemoryQueue
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.messages import ChunkRequested, decode
from embedpipe.stages.cleanup import cleanup
from embedpipe.stages.compact import compact
from embedpipe.stages.relay import sweep
from embedpipe.stages.rescue import rescue

from tests.builders import a_new_job, a_stored_job, admit
from tests.postgres import age_ends, read_table

AT_ONCE = 4
JOBS = 40
DAY_S = 86_400.0
T = TypeVar("T")


def at_once(work: Callable[[], T]) -> Sequence[T]:
    """Do the same several times, begun together; give what each gave."""
    barrier = Barrier(AT_ONCE)

    def begin() -> T:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [one.result() for one in [threads.submit(begin) for _ in range(AT_ONCE)]]


def some_queues() -> dict[str, MemoryQueue]:
    return {name: MemoryQueue(name) for name in ("chunk", *EMBED_QUEUES.values(), "store")}


def a_pool(conninfo: str) -> PostgresDatabase:
    return PostgresDatabase(conninfo, min_size=0, max_size=AT_ONCE)


def test_every_row_is_sent_once(
    postgres_database: PostgresDatabase, maintenance_conninfo: str, owner_conninfo: str
) -> None:
    for number in range(JOBS):
        admit(postgres_database, document_id=f"doc-{number}")
    expire_claims(owner_conninfo)
    queues, database = some_queues(), a_pool(maintenance_conninfo)

    sent = at_once(lambda: sweep(outbox=database.outbox, queues=queues, page=7))
    database.close()

    assert sum(sent) == len(queues["chunk"].bodies()) == JOBS
    assert read_table(owner_conninfo, "outbox") == []


def expire_claims(conninfo: str) -> None:
    import psycopg

    with psycopg.connect(conninfo) as connection:
        connection.execute("UPDATE outbox SET claimed_until = now() - interval '1 second'")


def test_every_lost_job_is_restarted_once(
    postgres_database: PostgresDatabase, maintenance_conninfo: str, owner_conninfo: str
) -> None:
    for number in range(JOBS):
        job = a_new_job(document_id=f"doc-{number}")
        sent = admit(postgres_database, job_id=job.job_id, document_id=job.document_id)
        lose(postgres_database, sent.job_id)
    queues, database = some_queues(), a_pool(maintenance_conninfo)

    rescued = at_once(
        lambda: rescue(database=database, queues=queues, idle_s=0, max_rescues=5, limit=JOBS)
    )
    database.close()

    epochs = Counter(decode(ChunkRequested, body).epoch for body in queues["chunk"].bodies())
    assert sum(one.restarted for one in rescued) == sum(epochs.values())
    assert {row["epoch"] for row in read_table(owner_conninfo, "jobs")} == {max(epochs)}
    assert epochs[2] == JOBS


def lose(database: PostgresDatabase, job_id: str) -> None:
    from embedpipe.ports import OutboxRow

    database.outbox.sent([OutboxRow("acme", "chunk", job_id, "")])


def test_every_document_is_compacted_once(
    postgres_database: PostgresDatabase, maintenance_conninfo: str, owner_conninfo: str
) -> None:
    for number in range(JOBS):
        a_stored_job(postgres_database, document_id=f"doc-{number}")
        postgres_database.documents.delete("acme", "default", f"doc-{number}")
    age_ends(owner_conninfo, 8 * DAY_S)
    database = a_pool(maintenance_conninfo)

    compacted = at_once(
        lambda: compact(housekeeping=database.housekeeping, grace_s=7 * DAY_S, interval_s=0, rows=5)
    )
    database.close()

    assert sum(one.documents for one in compacted) == JOBS
    assert sum(one.chunks for one in compacted) == 2 * JOBS
    assert read_table(owner_conninfo, "embeddings") == []


def test_every_finished_job_is_removed_once(
    postgres_database: PostgresDatabase, maintenance_conninfo: str, owner_conninfo: str
) -> None:
    for number in range(JOBS):
        a_stored_job(postgres_database, document_id=f"doc-{number % 10}")
    age_ends(owner_conninfo, 31 * DAY_S)
    database = a_pool(maintenance_conninfo)

    cleaned = at_once(lambda: cleanup(database=database, days=30))
    database.close()

    assert sum(one.jobs for one in cleaned) == JOBS
    assert sum(one.versions for one in cleaned) == JOBS - 10
    assert read_table(owner_conninfo, "jobs") == []
    assert len(read_table(owner_conninfo, "embeddings")) == 20
