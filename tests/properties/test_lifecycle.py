"""Whatever happens to jobs, in whatever order, the database is what a small model says.

The acts are the stages' own, on PostgreSQL; queues are lists, so that any message may be late, lost
or come twice, and a process may die between any two steps. After every act the model is compared
with the tables, and all invariants are asked for.

`make properties` runs more of it: EXAMPLES and STEPS say how much.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from embedpipe.adapters.memory import FakeModels, MemoryBlobs
from embedpipe.domain.audit import Act, Actor
from embedpipe.domain.controls import ControlAction
from embedpipe.domain.dead_letters import JobState
from embedpipe.domain.jobs import JobError, JobStatus
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.errors import ConflictError, QueueUnavailableError
from embedpipe.messages import ChunkRequested, EmbedRequested, StoreRequested, decode
from embedpipe.ports import Outgoing
from embedpipe.stages import chunk, cleanup, compact, embed, relay, rescue, store, submit
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from tests.invariants import ALWAYS, as_table, violations, watch
from tests.properties.lifecycle import Message, Model, ModelJob

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

    from tests.postgres import PostgresServer

EXAMPLES = int(os.environ.get("EXAMPLES", "10"))
STEPS = int(os.environ.get("STEPS", "30"))

TENANT = "acme"
DOCUMENTS = ("one", "two", "three")
KEYS = ("key-0", "key-1")
QUEUES = ("chunk", *EMBED_QUEUES.values(), "store")
#: So often a job is started again by itself.
MAX_RESCUES = 4
#: No character of it is a boundary, so that chunks of ten are cut where they end.
TEXT = "abcdefghij"
ACTOR = Actor(TENANT, "operator")
#: What may become of a message.
ENDS = ("ack", "ack", "ack", "again", "die", "unsent", "lose", "reject")
BAD = JobError("POISON_CHUNK", "permanent", "bad")
#: All queries at once, planned once: what must not be at any moment.
ANYTHING_WRONG = " UNION ALL ".join(
    f"SELECT '{name.replace(chr(39), chr(39) * 2)}' AS name WHERE EXISTS ({query})"
    for name, query in ALWAYS.items()
)


class ListQueue:
    """A queue whose messages lie open; sending fails when it is told to."""

    def __init__(self, name: str, messages: list[Message]) -> None:
        self.name = name
        self.messages = messages
        self.is_available = True

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        if not self.is_available:
            raise QueueUnavailableError
        for one in messages:
            fence = decode(_MODELS[self.name.partition("_")[0]], one.body)
            batch_no = getattr(fence, "batch_no", None)
            self.messages.append(Message(self.name, one.body, fence.job_id, fence.epoch, batch_no))
        return {one.key for one in messages}

    def backlog(self) -> int:
        return sum(one.queue == self.name for one in self.messages)

    def check(self) -> None:
        """It is there."""


_MODELS: dict[str, type[ChunkRequested | EmbedRequested | StoreRequested]] = {
    "chunk": ChunkRequested,
    "embed": EmbedRequested,
    "store": StoreRequested,
}


class World:
    """The databases that all examples share, one after another."""

    def __init__(self, app: PostgresDatabase, maintenance: PostgresDatabase, owner: str) -> None:
        self.app = app
        self.maintenance = maintenance
        self.owner = psycopg.connect(owner, autocommit=True, row_factory=dict_row)
        self.models = FakeModels()
        self.steps = 0
        self.acts: Counter[str] = Counter()

    def reset(self) -> None:
        self.owner.execute(
            "DELETE FROM tenants; DELETE FROM audit_log; DELETE FROM maintenance_cursors;"
            " UPDATE stage_controls SET state = 'running'; TRUNCATE watched.transitions,"
            " watched.versions"
        )
        self.maintenance.tenants.create(TENANT, "free", self.models.get("fake"))

    def rows(self, query: str) -> list[dict[str, Any]]:
        return self.owner.execute(query.encode(), prepare=True).fetchall()


class Lifecycle(RuleBasedStateMachine):
    """Acts on a few documents; `world` is set for the run."""

    world: World

    @initialize(done=st.sampled_from(DOCUMENTS), begun=st.sampled_from(DOCUMENTS))
    def begin(self, done: str, begun: str) -> None:
        self.world.reset()
        self.model = Model()
        self.keys: dict[str, tuple[str, tuple[str, int, int]]] = {}
        self.messages: list[Message] = []
        self.dead: list[Message] = []
        self.paused: set[str] = set()
        self.blobs = MemoryBlobs()
        self.queues = {name: ListQueue(name, self.messages) for name in QUEUES}
        for document_id, steps in ((done, 9), (begun, 2)):
            self._admit((document_id, 2, 50), None, is_sent=True)
            self.work_off(count=steps, newest=True)

    # What a user does

    @rule(
        document_id=st.sampled_from(DOCUMENTS),
        chunks=st.integers(1, 3),
        priority=st.sampled_from([10, 50, 90]),
        key=st.sampled_from([None, None, None, *KEYS]),
        is_sent=st.sampled_from([True, True, True, False]),
        is_worked_off=st.booleans(),
    )
    def admit(
        self,
        document_id: str,
        chunks: int,
        priority: int,
        key: str | None,
        is_sent: bool,
        is_worked_off: bool,
    ) -> None:
        self._admit((document_id, chunks, priority), key, is_sent)
        if is_worked_off:
            self.work_off(count=9, newest=True)

    def _admit(self, wanted: tuple[str, int, int], key: str | None, is_sent: bool) -> None:
        seen = self.keys.get(key) if key else None
        if seen and seen[0] not in self.model.jobs:
            seen = None
        self.queues["chunk"].is_available = is_sent
        try:
            answer = self._submit(wanted, key)
        except ConflictError as error:
            assert (error.code, seen is not None) == ("IDEMPOTENCY_KEY_REUSED", True)
            assert seen is not None
            assert seen[1] != wanted
            return
        finally:
            self.queues["chunk"].is_available = True
        admission = answer.admission
        if seen:
            assert (admission.job_id, admission.created) == (seen[0], False)
            assert seen[1] == wanted
            return
        assert (admission.created, answer.is_sent) == (True, is_sent)
        if key:
            self.keys[key] = (admission.job_id, wanted)
        self.model.admit(ModelJob(admission.job_id, wanted[0], admission.version, wanted[1], key))

    def _submit(self, wanted: tuple[str, int, int], key: str | None) -> submit.Submitted:
        document_id, chunks, priority = wanted
        return submit.submit(
            submit.Submission(
                "default",
                TEXT * chunks,
                document_id=document_id,
                chunking=submit.WantedChunking(10, 0, "chars"),
                priority=priority,
                idempotency_key=key,
            ),
            tenant_id=TENANT,
            database=self.world.app,
            blobs=self.blobs,
            models=self.world.models,
            chunk_queue=self.queues["chunk"],
            inline_content_bytes=15,
        )

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self._a_job(data)
        was_open = job.is_open
        try:
            self.world.app.jobs.cancel(TENANT, job.job_id)
        except ConflictError:
            assert not was_open
        else:
            assert was_open
            self.model.end(job, "cancelled")

    @precondition(lambda self: self.model.documents)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        document_id = data.draw(st.sampled_from(sorted(self.model.documents)))
        self.world.app.documents.delete(TENANT, "default", document_id)
        self.model.documents[document_id].is_deleted = True
        if job := self.model.open_job(document_id):
            self.model.end(job, "cancelled")

    @precondition(lambda self: self.model.documents)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        document_id = data.draw(st.sampled_from(sorted(self.model.documents)))
        self.world.app.documents.restore(TENANT, "default", document_id)
        self.model.documents[document_id].is_deleted = False

    # What happens to messages

    @precondition(lambda self: self._deliverable())
    @rule(data=st.data(), end=st.sampled_from(ENDS))
    def deliver(self, data: st.DataObject, end: str) -> None:
        """Work on a message; or lose it, or fail it, or let it come again, or send nothing on."""
        self._deliver(self._drawn(data, self._deliverable()), end)

    @precondition(lambda self: self._deliverable())
    @rule(count=st.integers(1, 12), newest=st.booleans())
    def work_off(self, count: int, newest: bool) -> None:
        """Work on several messages, one after another, as a queue without trouble gives them."""
        for _ in range(count):
            if deliverable := self._deliverable():
                self._deliver(deliverable[-1 if newest else 0], "ack")

    def _deliver(self, message: Message, end: str) -> None:
        job = self.model.wants(message)
        if end == "reject":
            self._reject(message)
        elif end not in ("die", "lose"):
            self.world.acts[f"{message.stage} {'done' if job else 'not wanted'}"] += 1
            {"chunk": self._chunk, "embed": self._embed, "store": self._store}[message.stage](
                message, job, end != "unsent"
            )
        if end not in ("again", "die"):
            self.messages.remove(message)

    def _deliverable(self) -> list[Message]:
        return [one for one in self.messages if one.stage not in self.paused]

    def _chunk(self, message: Message, job: ModelJob | None, is_sent: bool) -> None:
        rows = chunk.chunk(
            decode(ChunkRequested, message.body),
            jobs=self.world.app.jobs,
            blobs=self.blobs,
            models=self.world.models,
            batch_chunks=1,
            max_message_bytes=262_144,
        )
        assert len(rows) == (job.chunks if job else 0)
        if job:
            self.model.chunk(job)
        if is_sent:
            relay.relay(rows, outbox=self.world.app.outbox, queues=self.queues)

    def _embed(self, message: Message, job: ModelJob | None, is_sent: bool) -> None:
        wanted = decode(EmbedRequested, message.body)
        assert self.world.app.jobs.pending([wanted.batch]) == ({wanted.batch} if job else set())
        if job is None:
            return
        vectors = np.full((1, 32), 1 + wanted.batch_no + 8 * wanted.document_version, np.float32)
        if is_sent:
            body = embed.answer(wanted, vectors).encode()
            self.queues["store"].send([Outgoing("0", body, group_id=TENANT)])

    def _store(self, message: Message, job: ModelJob | None, _is_sent: bool) -> None:
        wanted = decode(StoreRequested, message.body)
        assert store.store(wanted, jobs=self.world.app.jobs) == (job is not None)
        if job:
            self.model.store(job, wanted.batch_no)

    def _reject(self, message: Message) -> None:
        """Fail the job of a message; the message lies in the DLQ."""
        job = self.model.wants(message)
        ref = decode(_MODELS[message.stage], message.body).ref
        held = self.model.jobs.get(message.job_id)
        is_of = held is not None and held.is_open and self._is_of(held, message)
        assert self.world.app.jobs.fail(ref, BAD) == is_of
        assert is_of or job is None
        if is_of and held is not None:
            self.model.end(held, "failed")
            self.dead.append(message)

    def _is_of(self, job: ModelJob, message: Message) -> bool:
        return message.epoch == job.epoch or (
            message.epoch == job.requeued_from and job.status in ("queued", "chunking")
        )

    # What operators do

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        """Start a failed job again from its dead letter."""
        message = self._drawn(data, self.dead)
        job = self.model.jobs.get(message.job_id)
        ref = decode(_MODELS[message.stage], message.body).ref
        is_wanted = (
            job is not None
            and job.status == "failed"
            and not job.is_skipped
            and message.epoch in (job.epoch, job.requeued_from if message.stage == "chunk" else 0)
            and job.version == self.model.documents[job.document_id].latest
            and not self.model.documents[job.document_id].is_deleted
        )
        before = self._epoch(message.job_id)
        row = self.world.maintenance.requeues.restart(
            message.stage,
            message.epoch,
            JobState(ref, JobStatus.FAILED),
            lambda fresh, traceparent: submit.chunk_requested(fresh, traceparent),
        )
        is_restarted = self._epoch(message.job_id) != before
        assert is_restarted == is_wanted
        if not is_restarted or job is None:
            return
        self.world.acts["requeued"] += 1
        job.rescues = 0
        self.model.restart(job, requeued_from=message.epoch if row is None else None)
        if row is None:
            assert message.stage == "chunk"
            self.messages.append(message)

    def _epoch(self, job_id: str) -> int | None:
        found = {str(row["job_id"]): row["epoch"] for row in self.world.rows("SELECT * FROM jobs")}
        return found.get(job_id)

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def skip(self, data: st.DataObject) -> None:
        job = self._a_job(data)
        self.world.app.skips.skip(job.job_id, 3600, Act(ACTOR, "job.skip", job.job_id))
        job.is_skipped = True
        if job.is_open:
            self.model.end(job, "cancelled")

    @precondition(lambda self: any(job.is_skipped for job in self.model.jobs.values()))
    @rule()
    def let_skips_expire(self) -> None:
        self.world.owner.execute("UPDATE job_skips SET expires_at = now()")
        for job in self.model.jobs.values():
            job.is_skipped = False

    @precondition(lambda self: self.messages or self.paused)
    @rule(stage=st.sampled_from(["chunk", "embed", "store"]))
    def pause_or_resume_all(self, stage: str) -> None:
        action = ControlAction.RESUME if self.paused else ControlAction.PAUSE
        stages = self.paused or {stage}
        for one in stages:
            self.world.app.controls.set(one, action, Act(ACTOR, f"stage.{action}", one))
        self.paused = set() if self.paused else {stage}

    # What maintenance does, after all messages were lost perhaps

    @precondition(lambda self: self._outbox())
    @rule()
    def sweep(self) -> None:
        self.world.owner.execute("UPDATE outbox SET claimed_until = now()")
        relay.sweep(outbox=self.world.maintenance.outbox, queues=self.queues)
        assert self.world.rows("SELECT message_key FROM outbox") == []

    @precondition(lambda self: any(job.is_open for job in self.model.jobs.values()))
    @rule(is_purged=st.booleans())
    def rescue(self, is_purged: bool) -> None:
        if is_purged:
            self.messages.clear()
        epochs = {job.job_id: job.epoch for job in self.model.jobs.values()}
        waiting = {row["message_key"].partition("/")[0] for row in self._outbox()}
        rescued = rescue.rescue(
            database=self.world.maintenance,
            queues=self.queues,
            idle_s=0,
            max_rescues=MAX_RESCUES,
        )
        rows = {str(row["job_id"]): row for row in self.world.rows("SELECT * FROM jobs")}
        moved = [row for job_id, row in rows.items() if row["epoch"] != epochs[job_id]]
        self._give_up(rows, rescued.failed)
        assert rescued.restarted == len(moved)
        self.world.acts["rescued"] += len(moved)
        for row in moved:
            job = self.model.jobs[str(row["job_id"])]
            needed = {"chunk"} if job.status in ("queued", "chunking") else set(_MODELS)
            assert (job.is_open, job.is_skipped) == (True, False)
            assert not needed & self.paused
            assert job.job_id not in waiting
            assert job.rescues < MAX_RESCUES
            job.rescues += 1
            self.model.restart(job)

    def _give_up(self, rows: dict[str, dict[str, Any]], count: int) -> None:
        given_up = [
            job
            for job in self.model.jobs.values()
            if job.is_open and rows[job.job_id]["status"] == "failed"
        ]
        assert count == len(given_up)
        self.world.acts["given up"] += count
        for job in given_up:
            assert (job.rescues, job.is_skipped) == (MAX_RESCUES, False)
            assert rows[job.job_id]["error_code"] == "RESCUES_SPENT"
            self.model.end(job, "failed")

    def _outbox(self) -> list[dict[str, Any]]:
        return self.world.rows("SELECT * FROM outbox")

    @precondition(lambda self: any(one.is_deleted for one in self.model.documents.values()))
    @rule(rows=st.integers(1, 4))
    def compact(self, rows: int) -> None:
        compacted = compact.compact(
            housekeeping=self.world.maintenance.housekeeping, grace_s=0, interval_s=0, rows=rows
        )
        assert self.world.rows("SELECT FROM documents WHERE is_compacting") == []
        self.world.acts["chunks compacted"] += compacted.chunks
        self.model.compact()

    @precondition(lambda self: any(one.is_deleted for one in self.model.documents.values()))
    @rule(steps=st.integers(0, 3))
    def compact_in_part(self, steps: int) -> None:
        """Hide what is deleted, remove some of it, and be killed; the next compaction does it."""
        keeping = self.world.maintenance.housekeeping
        keeping.hide_deleted(grace_s=0, limit=10)
        for _ in range(steps):
            keeping.remove_hidden(limit=1)
        self.model.compact()

    @precondition(lambda self: any(not job.is_open for job in self.model.jobs.values()))
    @rule(is_dry=st.booleans())
    def clean_up(self, is_dry: bool) -> None:
        over = sum(not job.is_open and not job.is_skipped for job in self.model.jobs.values())
        cleaned = cleanup.cleanup(database=self.world.maintenance, days=0, dry_run=is_dry)
        assert cleaned.jobs == over
        self.world.acts["versions removed"] += 0 if is_dry else cleaned.versions
        if not is_dry:
            assert self.model.clean_up() == over

    def _drawn(self, data: st.DataObject, messages: Sequence[Message]) -> Message:
        return messages[data.draw(st.integers(0, len(messages) - 1))]

    def _a_job(self, data: st.DataObject) -> ModelJob:
        # By number: ids differ from run to run, and with them their order.
        jobs = list(self.model.jobs.values())
        return jobs[data.draw(st.integers(0, len(jobs) - 1))]

    # What must hold

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.world.steps += 1
        if self.world.rows(ANYTHING_WRONG):
            pytest.fail(
                as_table(violations(self.world.owner, is_quiet=False, is_real=False)), pytrace=False
            )

    @invariant()
    def the_database_is_what_the_model_says(self) -> None:
        jobs = {
            str(row["job_id"]): (row["status"], row["epoch"])
            for row in self.world.rows("SELECT job_id, status, epoch FROM jobs")
        }
        wanted = {job.job_id: (job.status, job.epoch) for job in self.model.jobs.values()}
        begun = {
            job_id: (status.replace("chunking", "queued"), e)
            for job_id, (status, e) in jobs.items()
        }
        documents = {
            row["document_id"]: (row["latest_version"], row["current_version"], row["is_deleted"])
            for row in self.world.rows(
                "SELECT *, deleted_at IS NOT NULL AS is_deleted FROM documents"
            )
        }
        assert begun == wanted
        assert documents == {
            name: (one.latest, one.visible, one.is_deleted)
            for name, one in self.model.documents.items()
        }

    @invariant()
    def every_version_has_the_chunks_that_it_should(self) -> None:
        found = {
            (row["document_id"], row["version"]): row["chunks"]
            for row in self.world.rows(
                "SELECT document_id, version, count(*) AS chunks FROM chunks"
                " JOIN documents USING (tenant_id, collection, document_id)"
                " WHERE NOT is_compacting OR version IS NOT DISTINCT FROM current_version"
                " GROUP BY 1, 2"
            )
        }
        compacting = {
            row["document_id"]
            for row in self.world.rows("SELECT document_id FROM documents WHERE is_compacting")
        }
        for name, document in self.model.documents.items():
            for version, chunks in document.chunks.items():
                if name not in compacting or version == document.visible:
                    assert found.pop((name, version)) == chunks
        assert found == {}

    @invariant()
    def search_shows_whole_visible_versions_and_nothing_else(self) -> None:
        hits = self.world.app.vectors.search(TENANT, "default", [1.0] * 32, top_k=50)
        shown = Counter((hit.document_id, hit.version) for hit in hits)
        assert shown == {
            (name, one.visible): one.chunks[one.visible]
            for name, one in self.model.documents.items()
            if one.visible is not None and not one.is_deleted
        }

    @invariant()
    def no_visible_text_is_lost(self) -> None:
        named = {row["content_uri"] for row in self.world.rows("SELECT * FROM document_versions")}
        assert {uri for uri in named if uri} <= self.blobs.objects.keys()


@pytest.fixture
def postgres_name(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of the test's own: it keeps a journal."""
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.conninfo(name)) as connection:
        watch(connection)
    yield name
    postgres_server.drop_database(name)


@pytest.fixture
def world(
    postgres_database: PostgresDatabase,
    maintenance_database: PostgresDatabase,
    owner_conninfo: str,
) -> Iterator[World]:
    world = World(postgres_database, maintenance_database, owner_conninfo)
    yield world
    world.owner.close()


@pytest.mark.timeout(7200)
def test_jobs_documents_and_chunks_are_what_the_model_says(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lifecycle, "world", world, raising=False)
    started = time.perf_counter()

    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="SEED" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )

    seconds = time.perf_counter() - started
    sys.stdout.write(
        f"{world.steps} steps in {seconds:.1f} s, {world.steps / seconds:.0f} a second; "
        + ", ".join(f"{name}: {count}" for name, count in sorted(world.acts.items()))
        + "\n"
    )
    assert world.acts["store done"] > 0
