"""Everything that may happen to a few documents, at once, and what must hold whatever the order."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from embedpipe.domain.jobs import BatchRef, JobError, JobRef, JobStatus
from embedpipe.errors import ConflictError, NotFoundError
from embedpipe.ports import OutboxRow
from psycopg.rows import dict_row

from tests.builders import (
    MODEL,
    a_message,
    a_new_job,
    a_ref,
    a_vector,
    packed,
    some_batches,
    some_chunks,
)

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

DOCUMENTS = ("one", "two", "three")
THREADS = 4
STEPS = 500

#: Rows that must not be, by what is wrong with them.
WRONG: dict[str, str] = {
    "two jobs of one document in progress": """
        SELECT tenant_id, collection, document_id FROM jobs
        WHERE status IN ('queued', 'chunking', 'embedding', 'storing')
        GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "chunks or vectors of a job that did not succeed": """
        SELECT j.job_id, j.status FROM jobs j
        JOIN chunks c USING (tenant_id, collection, document_id, version)
        WHERE j.status IN ('failed', 'cancelled')""",
    "a visible version without its whole set of vectors": """
        SELECT j.job_id FROM documents d
        JOIN jobs j ON (j.tenant_id, j.collection, j.document_id, j.version)
            = (d.tenant_id, d.collection, d.document_id, d.current_version)
        WHERE j.status <> 'succeeded'
           OR j.chunks_total <> (
                SELECT count(*) FROM chunks c JOIN embeddings e
                    USING (tenant_id, collection, document_id, version, chunk_index)
                WHERE (c.tenant_id, c.collection, c.document_id, c.version)
                    = (j.tenant_id, j.collection, j.document_id, j.version))
           OR j.chunks_total <> (
                SELECT count(*) FROM chunks c
                WHERE (c.tenant_id, c.collection, c.document_id, c.version)
                    = (j.tenant_id, j.collection, j.document_id, j.version))""",
    "a visible version that is not the last that succeeded": """
        SELECT d.document_id, d.current_version FROM documents d
        WHERE d.current_version IS DISTINCT FROM (
            SELECT max(j.version) FROM jobs j
            WHERE (j.tenant_id, j.collection, j.document_id)
                = (d.tenant_id, d.collection, d.document_id) AND j.status = 'succeeded')""",
    "chunks of a version that is over": """
        SELECT c.document_id, c.version FROM documents d
        JOIN chunks c USING (tenant_id, collection, document_id)
        WHERE c.version < d.current_version""",
    "a vector of another version": """
        SELECT document_id, version, embedding FROM embeddings
        WHERE round((embedding::real[])[2] * 8) <> version % 8""",
    "a succeeded job with a pending batch": """
        SELECT j.job_id FROM jobs j JOIN batches b USING (tenant_id, job_id, epoch)
        WHERE j.status = 'succeeded' AND b.state = 'pending'""",
}
NOTHING_WRONG: dict[str, list[Any]] = {name: [] for name in WRONG}


def chunks_of(version: int) -> int:
    return version % 3 + 1


@dataclass
class World:
    """What the threads share, and what they were told."""

    database: PostgresDatabase
    maintenance: PostgresDatabase
    refs: list[JobRef] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    stored: Counter[BatchRef] = field(default_factory=Counter)
    keys: dict[str, set[str]] = field(default_factory=dict)
    restarted: int = 0

    def admit(self, rng: random.Random) -> None:
        key = f"key-{rng.randrange(40)}" if rng.random() < 0.3 else None
        # Another key's request is the same for one document only.
        document = DOCUMENTS[int(key[4:]) % 3] if key else rng.choice(DOCUMENTS)
        job = a_new_job(document_id=document, idempotency_key=key, request_sha256=document)
        admission = self.database.jobs.admit(job, lambda _: a_message(job))
        if key:
            self.keys.setdefault(key, set()).add(admission.job_id)
        self.refs.append(a_ref(job, admission))

    def any_ref(self, rng: random.Random) -> JobRef | None:
        """Give a job, mostly a recent one: its messages may come late, and again."""
        recent = self.refs[-6:] if rng.random() < 0.8 else self.refs[:]
        return rng.choice(recent) if recent else None

    def begin(self, ref: JobRef, rng: random.Random) -> None:
        self.database.jobs.begin_chunking(ref)

    def finish(self, ref: JobRef, rng: random.Random) -> None:
        count = chunks_of(ref.version)
        row = OutboxRow(ref.tenant_id, "embed", ref.job_id, "{}")
        self.database.jobs.finish_chunking(ref, some_chunks(count), some_batches(count, 1), [row])

    def store(self, ref: JobRef, rng: random.Random) -> None:
        batch = BatchRef(ref, rng.randrange(chunks_of(ref.version)))
        vectors = packed([a_vector(ref.version % 8)])
        if self.database.jobs.store(batch, MODEL.fingerprint, MODEL.dimensions, vectors):
            self.stored[batch] += 1

    def cancel(self, ref: JobRef, rng: random.Random) -> None:
        try:
            self.database.jobs.cancel(ref.tenant_id, ref.job_id)
        except ConflictError:
            return
        self.cancelled.add(ref.job_id)

    def fail(self, ref: JobRef, rng: random.Random) -> None:
        self.database.jobs.fail(ref, JobError("POISON_CHUNK", "permanent", "bad"))

    def spend(self, ref: JobRef, rng: random.Random) -> None:
        self.database.jobs.spend_attempt(ref, rng.choice([None, 0]))

    def delete(self, ref: JobRef, rng: random.Random) -> None:
        self.database.documents.delete(ref.tenant_id, ref.collection, ref.document_id)

    def restore(self, ref: JobRef, rng: random.Random) -> None:
        self.database.documents.restore(ref.tenant_id, ref.collection, ref.document_id)

    def sent(self, ref: JobRef, rng: random.Random) -> None:
        rows = [OutboxRow(ref.tenant_id, queue, ref.job_id, "{}") for queue in ("chunk", "embed")]
        self.database.outbox.sent(rows)

    def rescue(self, ref: JobRef, rng: random.Random) -> None:
        for stalled in self.maintenance.rescues.stalled(
            list(JobStatus), idle_s=0, is_queue_empty=True
        ):
            again = replace(stalled.ref, epoch=stalled.ref.epoch + 1)
            row = OutboxRow(again.tenant_id, "chunk", f"{again.job_id}/{again.epoch}", "{}")
            if self.maintenance.rescues.restart(stalled, lambda _, row=row: row):  # type: ignore[misc]
                self.restarted += 1
                self.refs.append(again)

    def act(self, seed: int) -> None:
        rng = random.Random(seed)
        acts: dict[Callable[[JobRef, random.Random], None], int] = {
            self.begin: 8,
            self.finish: 8,
            self.store: 24,
            self.cancel: 1,
            self.fail: 1,
            self.spend: 2,
            self.delete: 1,
            self.restore: 2,
            self.sent: 4,
            self.rescue: 2,
        }
        for _ in range(STEPS):
            ref = self.any_ref(rng)
            if ref is None or rng.random() < 0.08:
                self.admit(rng)
            else:
                [act] = rng.choices(list(acts), list(acts.values()))
                act(ref, rng)

    def complete(self) -> None:
        """Deliver every message once more, in order: whatever was not ended is done then."""
        rng = random.Random(0)
        for ref in self.refs:
            self.begin(ref, rng)
            self.finish(ref, rng)
            for number in range(chunks_of(ref.version)):
                vectors = packed([a_vector(ref.version % 8)])
                batch = BatchRef(ref, number)
                if self.database.jobs.store(batch, MODEL.fingerprint, 3, vectors):
                    self.stored[batch] += 1


def look(database: PostgresDatabase, stop: Event) -> int:
    """Search until stopped; a document is never seen in part or twice. Give how many were seen."""
    seen = 0
    while not stop.is_set():
        hits = database.vectors.search("acme", "default", [1.0, 0.0, 0.0], top_k=50)
        for document in {hit.document_id for hit in hits}:
            of_document = [hit for hit in hits if hit.document_id == document]
            [version] = {hit.version for hit in of_document}
            assert sorted(hit.chunk_index for hit in of_document) == list(range(chunks_of(version)))
            seen += 1
        time.sleep(0.002)
    return seen


@pytest.fixture
def world(postgres_database: PostgresDatabase, maintenance_database: PostgresDatabase) -> World:
    return World(postgres_database, maintenance_database)


@pytest.fixture
def found(owner_conninfo: str) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Ask the whole database, as its superuser."""
    with psycopg.connect(owner_conninfo, row_factory=dict_row, autocommit=True) as connection:
        yield lambda query: connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_at_once_no_effect_is_lost_or_done_twice(
    world: World, found: Callable[[str], list[dict[str, Any]]], seed: int
) -> None:
    stop = Event()
    with ThreadPoolExecutor(THREADS + 1) as threads:
        reader = threads.submit(look, world.database, stop)
        writers = [threads.submit(world.act, 1000 * seed + n) for n in range(THREADS)]
        errors = [error for one in writers if (error := one.exception()) is not None]
        during = {name: found(query) for name, query in WRONG.items()}
        stop.set()
    world.complete()
    after = {name: found(query) for name, query in WRONG.items()}
    statuses = {str(row["job_id"]): row["status"] for row in found("SELECT * FROM jobs")}

    assert errors == []
    assert reader.result() > 0
    assert during == after == NOTHING_WRONG
    assert all(JobStatus(status).is_terminal for status in statuses.values())
    assert {statuses[job] for job in world.cancelled} == {"cancelled"}
    assert set(world.stored.values()) == {1}
    assert all(len(jobs) == 1 for jobs in world.keys.values())
    assert Counter(statuses.values())["succeeded"] > len(DOCUMENTS)
    assert world.restarted > 0


def test_a_collection_removed_under_work_takes_all_of_it(
    world: World, found: Callable[[str], list[dict[str, Any]]]
) -> None:
    """Its messages find nothing, also where a collection of the same name is there again."""

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(120):
            try:
                if rng.random() < 0.2 or not world.refs:
                    world.admit(rng)
                ref = world.any_ref(rng)
                assert ref is not None
                rng.choice([world.begin, world.finish, world.store, world.store])(ref, rng)
            except NotFoundError as error:
                assert error.code == "COLLECTION_NOT_FOUND"

    def remove() -> None:
        for _ in range(15):
            time.sleep(0.03)
            world.database.collections.delete("acme", "default")
            world.database.collections.create("acme", "default", MODEL, "")

    with ThreadPoolExecutor(THREADS) as threads:
        running = [threads.submit(work, n) for n in range(THREADS - 1)] + [threads.submit(remove)]
        errors = [error for one in running if (error := one.exception()) is not None]

    assert errors == []
    assert {name: found(query) for name, query in WRONG.items()} == NOTHING_WRONG
