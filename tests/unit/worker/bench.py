"""A worker on memory adapters, with jobs whose batches are on its queue."""

from __future__ import annotations

import base64
import io
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from embedpipe.adapters.memory import (
    FakeEmbedder,
    FakeEmbedders,
    FakeModels,
    FakeTokenizer,
    MemoryDatabase,
    MemoryQueue,
)
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.domain.retry import RetryPolicy
from embedpipe.domain.tokens import pack
from embedpipe.messages import EmbedRequested, StoreRequested, decode
from embedpipe.ports import NewBatch, NewChunk, OutboxRow, Outgoing
from embedpipe.settings import EmbedSettings
from embedpipe.stages.store import store
from embedpipe.worker import Context, Ports, Worker

from tests.builders import a_new_job

MODEL = FakeModels().get("fake")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def some_settings(**overrides: Any) -> EmbedSettings:
    defaults: dict[str, Any] = {
        "DATABASE_URL": "postgresql://unused",
        "EMBED_QUEUE_URL": "embed",
        "EMBED_DLQ_URL": "embed-dlq",
        "STORE_QUEUE_URL": "store",
        "DEFAULT_MODEL_ID": MODEL.model_id,
        "CONTENT_BUCKET": "content",
        "EMBED_PROVIDER": "cpu",
        "EMBED_HTTP_PORT": 0,
        "EMBED_WAIT_S": 0.05,
    }
    return EmbedSettings.model_validate(defaults | overrides)


class Impatient(Event):
    """An event that nobody waits for: pauses take no time."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class Jobs:
    """Jobs in a memory database, as the chunk stage leaves them."""

    def __init__(self, tenants: Sequence[str] = ("acme", "globex")) -> None:
        self.database = MemoryDatabase()
        for tenant in tenants:
            self.database.create_tenant(tenant, MODEL)

    def a_message(self, texts: Sequence[str], *, tenant: str = "acme") -> EmbedRequested:
        job_id, document_id = str(uuid4()), f"doc-{uuid4().hex}"
        job = a_new_job(tenant_id=tenant, job_id=job_id, document_id=document_id)
        self.database.jobs.admit(job, lambda _: OutboxRow(tenant, "chunk", job_id, "{}"))
        ref = JobRef(tenant, job_id, 1, "default", document_id, 1)
        chunks = [NewChunk(at, at, at + 1, "x", 3, "0" * 64) for at in range(len(texts))]
        self.database.jobs.begin_chunking(ref)
        self.database.jobs.finish_chunking(ref, chunks, [NewBatch(0, 0, len(texts))], [])
        return EmbedRequested(
            tenant_id=tenant,
            job_id=job_id,
            epoch=1,
            collection="default",
            document_id=document_id,
            document_version=1,
            batch_no=0,
            chunk_from=0,
            chunk_count=len(texts),
            model_id=MODEL.model_id,
            fingerprint=MODEL.fingerprint,
            tokens=pack(FakeTokenizer().encode(list(texts))),
        )

    def status(self, message: EmbedRequested) -> JobStatus:
        return self.database.jobs.get(message.tenant_id, message.job_id).status

    def error_code(self, message: EmbedRequested) -> str | None:
        error = self.database.jobs.get(message.tenant_id, message.job_id).error
        return error.code if error else None


@dataclass
class Bench:
    """One worker and everything around it."""

    settings: EmbedSettings = field(default_factory=some_settings)
    clock: Any = field(default_factory=Clock)
    jobs: Jobs = field(default_factory=Jobs)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dlq = MemoryQueue("embed-dlq", clock=self.clock)
        self.queue = MemoryQueue(
            "embed", visibility_s=self.settings.visibility_s, clock=self.clock, dlq=self.dlq
        )
        self.store_queue = MemoryQueue("store", clock=self.clock)
        self.log = io.StringIO()
        self.worker = self.another_worker()

    @classmethod
    def with_pauses(cls, **fields: Any) -> Bench:
        """A bench in real time, for a worker that runs in threads."""
        bench = cls(clock=time.monotonic, **fields)
        logger = Logger(service=f"test-{uuid4().hex}", stream=bench.log)
        bench.worker = Worker(Context.of(bench.ports(), logger=logger))
        return bench

    def another_worker(self) -> Worker:
        logger = Logger(service=f"test-{uuid4().hex}", stream=self.log)
        context = Context.of(self.ports(), logger=logger, clock=self.clock)
        return Worker(replace(context, stop=Impatient()))

    def ports(self) -> Ports:
        ports = Ports(
            inboxes={"normal": self.queue},
            store_queue=self.store_queue,
            jobs=self.jobs.database.jobs,
            embedders=FakeEmbedders(self.embedder),
            models=FakeModels(MODEL),
            policy=RetryPolicy(),
            settings=self.settings,
            ledger=self.jobs.database.crash_ledger,
        )
        return replace(ports, **self.overrides)

    def send(self, *messages: EmbedRequested | str) -> None:
        for message in messages:
            body = message if isinstance(message, str) else message.encode()
            self.queue.send([Outgoing("0", body, group_id="acme")])

    def submit(self, *texts: str, tenant: str = "acme") -> EmbedRequested:
        message = self.jobs.a_message(texts, tenant=tenant)
        self.send(message)
        return message

    def answers(self) -> list[StoreRequested]:
        return [decode(StoreRequested, body) for body in self.store_queue.bodies()]

    def store_all(self) -> None:
        """Do what the store stage does."""
        while received := self.store_queue.receive(wait_s=0):
            for one in received:
                store(decode(StoreRequested, one.body), jobs=self.jobs.database.jobs)
            self.store_queue.ack(received)

    @property
    def counts(self) -> dict[str, float]:
        return self.worker.context.counters.read()

    @property
    def held(self) -> int:
        return len(self.worker.context.holdings)


def vectors_of(answer: StoreRequested) -> list[list[float]]:
    numbers = array("f", base64.b64decode(answer.vectors))
    width = answer.dimensions
    return [numbers[at : at + width].tolist() for at in range(0, len(numbers), width)]


def token(word: str) -> int:
    """The id that the fake tokenizer gives a word."""
    return FakeTokenizer().offsets(word).ids[0]
