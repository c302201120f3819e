"""The whole pipeline: real handlers on real PostgreSQL, queues and objects in memory.

A process is given to every act, so that it may be stopped. Without one the act goes well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

import psycopg
from embedpipe import bootstrap
from embedpipe.adapters.memory import (
    FakeEmbedder,
    FakeEmbedders,
    FakeModels,
    FakeTokenizer,
    MemoryBlobs,
    MemoryQueue,
)
from embedpipe.adapters.memory.dead_letters import MemoryDeadLetters
from embedpipe.adapters.memory.event_sources import MemoryEventSources
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.sealing import AesGcmSealer
from embedpipe.api.resolver import build
from embedpipe.api.services import Services as ApiServices
from embedpipe.domain.lanes import QUEUES
from embedpipe.domain.retry import RetryPolicy
from embedpipe.settings import (
    ApiSettings,
    ChunkSettings,
    EmbedSettings,
    MaintenanceSettings,
    StoreSettings,
)
from embedpipe.stages.controls import ControlReader
from embedpipe.stages.dead_letters import DeadLetterParts
from embedpipe.stages.requeue import Pace
from psycopg.rows import dict_row

from functions.chunk import app as chunk_app
from functions.embed_gpu import app as embed_app
from functions.maintenance import app as maintenance_app
from functions.store import app as store_app
from tests import invariants
from tests.crashpoints.process import Connections, Pool, Process, Watched, killed, watched
from tests.crashpoints.queues import RedrivingQueue, grow_old, put_back, saved
from tests.invariants import Found, Told, violations
from tests.sqs_events import as_event, failed_ids
from tests.unit.api.client import ADMIN_KEY, BASE, Answer, an_event

T = TypeVar("T")

TENANT = "default"
VISIBILITY_S = 60.0
#: What passes between two rounds: longer than any visibility or claim; many of them take less than
#: a rescue's horizon. Then longer ones, for what had to be rescued.
SHORT_S, LONG_S = 100.0, 4000.0
#: Larger texts go by the object store.
INLINE_BYTES = 400
#: A text with it cannot be computed; one with the other ends the process that computes it.
POISON, KILLER = "poisonous", "murderous"
STAGES = ("chunk", "embed", "store")

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://unused",
    "CONTENT_BUCKET": "content",
    "DEFAULT_MODEL_ID": "fake",
    "SINGLE_USER_API_KEY": ADMIN_KEY,
    "EMBED_MESSAGE_MAX_CHUNKS": "2",
    "INLINE_CONTENT_BYTES": str(INLINE_BYTES),
    "EMBED_PROVIDER": "cpu",
    "EMBED_HTTP_PORT": "0",
    "EMBED_VISIBILITY_S": str(int(VISIBILITY_S)),
    **{f"{stage}_QUEUE_URL".upper(): stage for stage in STAGES},
    **{f"{stage}_DLQ_URL".upper(): f"{stage}-dlq" for stage in STAGES},
    "EMBED_HIGH_QUEUE_URL": "embed_high",
    "EMBED_LOW_QUEUE_URL": "embed_low",
}


@dataclass
class Clock:
    """Seconds of the queues; the database's own times are moved with it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class RefusedError(Exception):
    """The API did not take a document."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body)
        self.answer = answer


class _Letters(Watched):
    """A DLQ's letters, for which nobody waits."""

    def receive(self, **asked: Any) -> Any:
        receive = partial(self._target.receive, **{**asked, "wait_s": 0.0})
        return self._process.call(f"{self._name}.receive", receive)


def _stage_of(queue: str) -> str:
    return queue.partition("_")[0]


class _Embedder(FakeEmbedder):
    """Computes; a text that is murderous ends the process."""

    def __init__(self, process: Process, poison_ids: set[int], killer_ids: set[int]) -> None:
        super().__init__(poison_ids=poison_ids)
        self._process = process
        self._killer_ids = killer_ids

    def embed(self, token_ids: Any) -> Any:
        return self._process.call("model.embed", lambda: self._embed(token_ids))

    def _embed(self, token_ids: Any) -> Any:
        if any(self._killer_ids.intersection(ids) for ids in token_ids):
            self._process.die()
        return super().embed(token_ids)


def of_word(word: str) -> set[int]:
    """The token ids of a word, those of any text left out."""
    [ids] = FakeTokenizer().encode([word])
    return set(ids[1:-1])


def vector_of(text: str) -> list[float]:
    """Compute what the vector of a chunk must be."""
    return [float(value) for value in FakeEmbedder().embed(FakeTokenizer().encode([text]))[0]]


@dataclass
class World:
    """One database, its queues and objects, and what clients were told."""

    server: Any
    name: str
    told: Told = field(default_factory=lambda: Told(vector_of=vector_of))
    clock: Clock = field(default_factory=Clock)
    received: int = 0
    has_poison: bool = True
    has_tasks: bool = False
    failed_parts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.owner = psycopg.connect(
            self.server.conninfo(self.name), autocommit=True, row_factory=dict_row
        )
        self.connections = {
            role: Connections(self.server.conninfo(self.name, role))
            for role in ("embedpipe_app", "embedpipe_maintenance")
        }
        self.blobs = MemoryBlobs("content")
        self.models = FakeModels()
        self.event_sources = MemoryEventSources()
        self.dlqs = {stage: self._queue(f"{stage}-dlq") for stage in STAGES}
        self.queues = {
            name: self._queue(name, self.dlqs[_stage_of(name)])
            for name in ("chunk", *QUEUES.values(), "store")
        }
        self.policy = RetryPolicy()
        invariants.watch(self.owner)
        self._tables = self._find_tables()
        self._times = self._find_times()
        self._kept: dict[str, dict[str, Any]] = {}
        process = Process()
        self.database(process, "embedpipe_maintenance").tenants.create(
            TENANT, "free", self.models.get("fake")
        )
        self.save("blank")

    def _queue(self, name: str, dlq: MemoryQueue | None = None) -> RedrivingQueue:
        return RedrivingQueue(
            name, visibility_s=VISIBILITY_S, clock=self.clock, dlq=dlq, blobs=self.blobs
        )

    def close(self) -> None:
        """Close all connections."""
        self.owner.close()
        for connections in self.connections.values():
            connections.close()

    # Processes

    def database(self, process: Process, role: str = "embedpipe_app") -> PostgresDatabase:
        """Give the database of a process."""
        connections = self.connections[role]
        database = PostgresDatabase("unused")
        pool: Any = Pool(process, connections)
        database._sessions._opened = lambda: pool  # type: ignore[method-assign]
        return database

    def parts(self, process: Process, role: str = "embedpipe_app") -> dict[str, Any]:
        """Give everything that any function is wired with, by the names of fields."""
        queues = watched(self.queues, process)
        lanes = {lane: queues[name] for lane, name in QUEUES.items()}
        dlqs = watched(self.dlqs, process)
        database = self.database(process, role)
        poison = of_word(POISON) if self.has_poison else set[int]()
        return {
            "database": database,
            "dead_letters": self._dead_letters(process),
            "event_sources": Watched(self.event_sources, process, "event_sources"),
            "blobs": Watched(self.blobs, process, "blobs"),
            "models": self.models,
            "policy": self.policy,
            "queues": queues,
            "dlqs": dlqs,
            "chunk_queue": queues["chunk"],
            "store_queue": queues["store"],
            "inboxes": lanes,
            "embed_queues": queues,
            "controls": ControlReader(database.controls, kept_s=0.0),
            "query_embedder": None,
            "embedders": FakeEmbedders(_Embedder(process, poison, of_word(KILLER))),
        }

    def _dead_letters(self, process: Process) -> DeadLetterParts:
        lanes = {
            stage: {name: queue for name, queue in self.queues.items() if _stage_of(name) == stage}
            for stage in STAGES
        }
        letters = {
            stage: MemoryDeadLetters(
                self.dlqs[stage], stage=stage, sources=lanes[stage], has_tasks=self.has_tasks
            )
            for stage in STAGES
        }
        return DeadLetterParts(
            letters={stage: _Letters(letters[stage], process, f"{stage}-dlq") for stage in STAGES},
            sealer=AesGcmSealer({"one": bytes(32)}),
            pace=Pace(50, 200),
        )

    def wired(self, kind: type[T], process: Process, settings: Any, **parts: Any) -> T:
        """Wire a function with those parts that it has."""
        role = (
            "embedpipe_app"
            if kind is not bootstrap.MaintenanceServices
            else "embedpipe_maintenance"
        )
        all_parts = {**self.parts(process, role), "settings": settings, **parts}
        names = {one.name for one in fields(kind)}  # type: ignore[arg-type]
        return kind(**{name: part for name, part in all_parts.items() if name in names})

    # What may be done

    def send(
        self,
        method: str,
        path: str,
        value: Any = None,
        *,
        process: Process | None = None,
        query: str = "",
        **headers: str,
    ) -> Answer:
        """Ask the API."""
        process = process or Process()
        services = self.wired(ApiServices, process, ApiSettings.from_environment(ENVIRONMENT))
        named: dict[str, str | list[str]] = {k.replace("_", "-"): v for k, v in headers.items()}
        named |= {"X-API-KEY": ADMIN_KEY, "Content-Type": "application/json"}
        body = json.dumps(value) if value is not None else None
        event = an_event(method, BASE + path, query=query, headers=named, body=body)
        answer = build(lambda: services).resolve(event, None)
        kept = {name: values[-1] for name, values in answer["multiValueHeaders"].items()}
        return Answer(answer["statusCode"], kept, answer["body"] or "")

    def submit(
        self,
        text: str,
        *,
        document: str = "doc",
        key: str | None = None,
        process: Process | None = None,
        **asked: Any,
    ) -> str:
        """Post a document as a client does; give the job's id."""
        headers = {"Idempotency_Key": key} if key else {}
        value = {
            "document_id": document,
            "content": text,
            "chunking": {"size": 16, "overlap": 2, "unit": "tokens"},
            **asked,
        }
        answer = self.send("POST", "/embeddings/jobs", value, process=process, **headers)
        if answer.status not in {200, 202}:
            raise RefusedError(answer)
        job_id = str(answer.json["job_id"])
        self.told.accepted.add(job_id)
        if key:
            self.told.by_key.setdefault((TENANT, key), set()).add(job_id)
        return job_id

    def operate(self, path: str, value: Any, process: Process | None = None) -> Answer:
        """Do what an operator does."""
        return self.send("POST", f"/embeddings/{path}", value, process=process)

    def control(self, stage: str, action: str, process: Process | None = None) -> Answer:
        """Pause a stage, or let it go on."""
        value = {"stage": stage, "action": action, "note": "a test"}
        return self.operate("stage/control", value, process)

    def skip(self, job_id: str, process: Process | None = None) -> Answer:
        """Skip a job as an operator does."""
        answer = self.operate("job/skip", {"job_id": job_id, "note": "a test"}, process)
        if answer.status == 200 and answer.json["was_cancelled"]:
            self.told.cancelled.add(job_id)
        return answer

    def approve(self) -> list[tuple[str, str]]:
        """Mirror the DLQs, and approve all that lies in them; give stages and entries."""
        self.maintain()
        entries = self.rows("SELECT stage, entry_id FROM dlq_entries")
        for entry in entries:
            decision = {"state": "approved_for_requeue", "operator_note": "mended"}
            answer = self.operate("dlq/state", {**entry, **decision})
            assert answer.status == 200, answer.body
        return [(entry["stage"], entry["entry_id"]) for entry in entries]

    def cancel(self, job_id: str, process: Process | None = None) -> Answer:
        """Cancel a job as a client does."""
        answer = self.send("DELETE", f"/embeddings/jobs/{job_id}", process=process)
        if answer.status == 200:
            self.told.cancelled.add(job_id)
        return answer

    def delete(self, document: str = "doc", process: Process | None = None) -> Answer:
        """Delete a document as a client does."""
        return self.send("DELETE", f"/collections/default/documents/{document}", process=process)

    def chunk(self, process: Process | None = None) -> int:
        """Let the chunk function have a batch; give how many messages that were."""
        settings = ChunkSettings.from_environment(ENVIRONMENT)
        return self._invoke("chunk", chunk_app.handle, bootstrap.ChunkServices, settings, process)

    def store(self, process: Process | None = None) -> int:
        """Let the store function have a batch; give how many messages that were."""
        settings = StoreSettings.from_environment(ENVIRONMENT)
        return self._invoke("store", store_app.handle, bootstrap.StoreServices, settings, process)

    def _invoke(
        self,
        stage: str,
        handle: Callable[..., Mapping[str, Any]],
        kind: type[Any],
        settings: Any,
        process: Process | None,
    ) -> int:
        """Do what an event source mapping does: receive, invoke, remove what did not fail."""
        process = process or Process()
        received = self.queues[stage].receive(wait_s=0)
        if not received:
            return 0
        self.received += len(received)
        [inbox] = watched({stage: self.queues[stage]}, process).values()
        services = self.wired(kind, process, settings, inbox=inbox)
        failed = failed_ids(dict(handle(as_event(received), services)))
        inbox.ack([one for one in received if one.message_id not in failed])
        return len(received)

    def embed(self, process: Process | None = None) -> int:
        """Let a worker live until there is nothing to receive; give how many messages it got."""
        process = process or Process()
        waiting = sum(queue.depth for name, queue in self.queues.items() if "embed" in name)
        if not waiting:
            return 0
        self.received += waiting
        settings = EmbedSettings.from_environment(ENVIRONMENT)
        embed_app.make_worker(self.wired(bootstrap.EmbedServices, process, settings)).drain()
        return waiting

    def maintain(self, process: Process | None = None) -> Mapping[str, Any]:
        """Let maintenance run once."""
        settings = MaintenanceSettings.from_environment(ENVIRONMENT)
        services = self.wired(bootstrap.MaintenanceServices, process or Process(), settings)
        done = maintenance_app.handle({}, services)
        self.failed_parts |= done["failed"]
        return done

    # Time

    def pass_time(self, seconds: float = LONG_S) -> None:
        """Let time pass: for the queues, and for all that the database holds."""
        self.clock.now += seconds
        for _, queue in self._all_queues():
            grow_old(queue, seconds)
        self._as_replica(
            f"UPDATE {table} SET "
            + ", ".join(f"{column} = {column} - interval '{seconds} s'" for column in columns)
            for table, columns in self._times.items()
        )

    def deliver(self, rounds: int = 6) -> None:
        """Let every stage work until nothing can be received."""
        for _ in range(rounds):
            received = 0
            for stage in (self.chunk, self.embed, self.store):
                before = self.received
                # An input may be one that ends whatever computes it.
                with killed():
                    stage()
                received += self.received - before
            if not received:
                return

    def settle(self) -> None:
        """Deliver everything again and again, with maintenance between, until all is quiet."""
        for seconds in [SHORT_S] * 7 + [LONG_S] * 8:
            self.deliver()
            if self.is_quiet:
                break
            self.pass_time(seconds)
            self.maintain()
        self.maintain()
        self.deliver()

    @property
    def left(self) -> dict[str, int]:
        """How many messages each queue holds, DLQs left out."""
        return {name: len(queue.peek()) for name, queue in self.queues.items()}

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way."""
        open_rows = self.rows(
            "SELECT 1 FROM jobs WHERE finished_at IS NULL UNION ALL SELECT 1 FROM outbox"
            " UNION ALL SELECT 1 FROM redrives WHERE status IN ('running', 'cancelling') LIMIT 1"
        )
        return not open_rows and not any(self.left.values()) and not self.unmirrored()

    # What there is

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Ask the database as its owner."""
        return self.owner.execute(query.encode(), parameters).fetchall()

    def job_id(self, document: str, version: int) -> str:
        """Give the id of a version's job."""
        [row] = self.rows(
            "SELECT job_id FROM jobs WHERE document_id = %(document)s AND version = %(version)s",
            {"document": document, "version": version},
        )
        return str(row["job_id"])

    def statuses(self) -> dict[str, str]:
        """Give how each version's job stands: `doc/2: succeeded`."""
        rows = self.rows("SELECT document_id, version, status, error_code FROM jobs")
        return {
            f"{row['document_id']}/{row['version']}": ":".join(
                filter(None, (row["status"], row["error_code"]))
            )
            for row in rows
        }

    def epochs(self) -> dict[str, int]:
        """Give the epoch of each job that is not in its first."""
        rows = self.rows("SELECT document_id, version, epoch FROM jobs WHERE epoch > 1")
        return {f"{row['document_id']}/{row['version']}": row["epoch"] for row in rows}

    def rescued(self) -> list[str]:
        """Name the jobs that had to be rescued: their messages were lost."""
        rows = self.rows("SELECT document_id, version FROM jobs WHERE rescues > 0")
        return [f"{row['document_id']}/{row['version']}" for row in rows]

    def unmirrored(self) -> dict[str, tuple[int, int]]:
        """Give what each DLQ holds and how many entries the mirror has, where these differ.

        One that was put back counts twice: neither it nor its message is to stay.
        """
        rows = self.rows(
            "SELECT stage, count(*) + count(*) FILTER (WHERE state = 'requeued') AS entries"
            " FROM dlq_entries GROUP BY 1"
        )
        entries = {row["stage"]: row["entries"] for row in rows}
        both = {stage: (len(q.peek()), entries.get(stage, 0)) for stage, q in self.dlqs.items()}
        return {stage: pair for stage, pair in both.items() if pair[0] != pair[1]}

    def found(self) -> Found:
        """Ask for everything that must not be, now that all is quiet."""
        return violations(self.owner, queues=self.left, told=self.told)

    # Putting everything back

    def save(self, label: str) -> None:
        """Keep everything as it is, under a name."""
        if label not in self._kept:
            self.owner.execute(f"CREATE SCHEMA {label}".encode())
            for table, name in self._tables.items():
                self.owner.execute(f"CREATE TABLE {label}.{name} AS TABLE {table} LIMIT 0".encode())
        self._as_replica(
            f"DELETE FROM {label}.{name}; INSERT INTO {label}.{name} SELECT * FROM {table}"
            for table, name in self._tables.items()
        )
        self._kept[label] = {
            "queues": {name: saved(queue) for name, queue in self._all_queues()},
            "blobs": dict(self.blobs.objects),
            "now": self.clock.now,
            "has_poison": self.has_poison,
            "has_tasks": self.has_tasks,
            "told": deepcopy((self.told.accepted, self.told.cancelled, self.told.by_key)),
        }

    def restore(self, label: str) -> None:
        """Put everything back as it was kept under that name."""
        kept = self._kept[label]
        self._as_replica(
            f"DELETE FROM {table};"
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {label}.{name}"
            for table, name in self._tables.items()
        )
        for name, queue in self._all_queues():
            put_back(queue, kept["queues"][name])
            queue.is_available = True
        self.blobs.objects = dict(kept["blobs"])
        self.clock.now = kept["now"]
        self.has_poison, self.has_tasks = kept["has_poison"], kept["has_tasks"]
        self.failed_parts = {}
        accepted, cancelled, by_key = deepcopy(kept["told"])
        self.told = Told(accepted, cancelled, by_key, vector_of)

    def _all_queues(self) -> Iterator[tuple[str, MemoryQueue]]:
        yield from self.queues.items()
        for stage, queue in self.dlqs.items():
            yield f"{stage}-dlq", queue

    def _find_tables(self) -> dict[str, str]:
        """Give all tables that change, and a name for each that is a name in any schema."""
        rows = self.rows(
            "SELECT n.nspname AS space, c.relname AS name FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname IN ('public', 'watched')"
            " AND c.relname NOT LIKE '%migration%'"
        )
        return {f"{row['space']}.{row['name']}": row["name"] for row in rows}

    def _find_times(self) -> dict[str, list[str]]:
        """Give the columns that hold times, by table."""
        rows = self.rows(
            "SELECT table_name, array_agg(column_name::text) AS columns"
            " FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' GROUP BY 1"
        )
        known = {f"public.{row['table_name']}": list(row["columns"]) for row in rows}
        return {table: known[table] for table in self._tables if table in known}

    def _as_replica(self, statements: Iterable[str]) -> None:
        """Change rows behind the back of triggers and foreign keys, all at once."""
        script = ";".join(statements)
        self.owner.execute(
            f"SET session_replication_role = replica; {script};"
            " SET session_replication_role = origin".encode()
        )
