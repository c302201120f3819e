"""A worker's way to providers, on memory adapters and one clock that a test moves."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from aws_lambda_powertools import Logger
from embedpipe.adapters.memory import (
    FakeModels,
    FakeRemoteEmbedder,
    FakeRemoteEmbedders,
    MemoryDatabase,
    MemoryQueue,
)
from embedpipe.adapters.memory.remote_models import PROVIDER
from embedpipe.domain.breakers import Breaker, BreakerRules
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.domain.retry import RetryPolicy
from embedpipe.messages import EmbedRequested, StoreRequested, decode
from embedpipe.ports import NewBatch, NewChunk, OutboxRow, Outgoing
from embedpipe.settings import EmbedSettings
from embedpipe.worker.context import Context, Ports
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.receiver import Receiver
from embedpipe.worker.recheck import Recheck
from embedpipe.worker.remote import RemoteWork
from embedpipe.worker.sender import Sender

from tests.builders import a_new_job
from tests.unit.worker.bench import Impatient, some_settings


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def datetime(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


class RemoteWorker:
    """What a worker does with messages for providers, one step after another."""

    def __init__(self, ports: Ports, clock: Callable[[], float], log: io.StringIO) -> None:
        logger = Logger(service=f"test-{uuid4().hex}", stream=log)
        context = Context.of(ports, logger=logger, clock=clock)
        self.context = replace(context, stop=Impatient())
        self.sender = Sender(self.context)
        self.recheck = Recheck(self.context, self._decide)
        self.remote = RemoteWork(self.context, self.sender.put, seconds=clock)
        self.receiver = Receiver(
            self.context, self._decide, lambda _: False, put_remote=self.remote.put
        )

    def _decide(self, held: Held, outcome: Outcome, error: Exception | None) -> None:
        held.outcome, held.error = outcome, error
        self.sender.put(held)

    def receive(self) -> None:
        while self.context.holdings.wait_for_room(0) and self.receiver.step(0.0):
            pass

    def drain(self) -> None:
        """Do all that can be done now."""
        while any([self.remote.step(), self.sender.step()]) or self._receives():
            pass

    def _receives(self) -> int:
        if not self.context.holdings.wait_for_room(0):
            return 0
        return self.receiver.step(0.0)


@dataclass
class RemoteBench:
    """Workers that share a queue, a database and a provider."""

    embedder: FakeRemoteEmbedder = field(default_factory=FakeRemoteEmbedder)
    settings: EmbedSettings = field(default_factory=some_settings)
    overrides: dict[str, Any] = field(default_factory=dict)
    rules: BreakerRules = field(default_factory=BreakerRules)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.model = self.embedder.model
        self.database = MemoryDatabase(clock=self.clock.datetime, breaker_rules=self.rules)
        for tenant in ("acme", "globex"):
            self.database.create_tenant(tenant, self.model)
        self.dlq = MemoryQueue("embed-dlq", clock=self.clock)
        self.queue = MemoryQueue(
            "embed", visibility_s=self.settings.visibility_s, clock=self.clock, dlq=self.dlq
        )
        self.store_queue = MemoryQueue("store", clock=self.clock)
        self.log = io.StringIO()
        self.worker = self.another_worker()

    def another_worker(self) -> RemoteWorker:
        return RemoteWorker(self.ports(), self.clock, self.log)

    def ports(self) -> Ports:
        ports = Ports(
            inboxes={"normal": self.queue},
            store_queue=self.store_queue,
            jobs=self.database.jobs,
            embedders=None,  # type: ignore[arg-type]
            models=FakeModels(self.model),
            policy=RetryPolicy(),
            settings=self.settings,
            remotes=FakeRemoteEmbedders(self.embedder),
            breakers=self.database.breakers,
        )
        return replace(ports, **self.overrides)

    def submit(self, *texts: str, tenant: str = "acme") -> EmbedRequested:
        """Leave a job as the chunk stage does, and its message on the queue."""
        message = self.a_message(texts, tenant)
        self.queue.send([Outgoing("0", message.encode(), group_id=tenant)])
        return message

    def a_message(self, texts: Sequence[str], tenant: str = "acme") -> EmbedRequested:
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
            model_id=self.model.model_id,
            fingerprint=self.model.fingerprint,
            texts=list(texts),
        )

    def answers(self) -> list[StoreRequested]:
        return [decode(StoreRequested, body) for body in self.store_queue.bodies()]

    def pass_time(self, seconds: float, *workers: RemoteWorker, step_s: float = 1.0) -> None:
        """Let time pass; workers go on meanwhile, and extend what they hold."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.clock.now += step_s
            for worker in workers or (self.worker,):
                self._beat(worker)
                worker.drain()

    def _beat(self, worker: RemoteWorker) -> None:
        leases = worker.context.holdings.extendable()
        visibility_s = self.settings.visibility_s
        lost = self.queue.extend([lease.received for lease in leases], visibility_s)
        worker.context.holdings.extended(leases, lost, self.clock.now)

    @property
    def breaker(self) -> Breaker:
        return self.database.breakers.get(PROVIDER)

    def status(self, message: EmbedRequested) -> JobStatus:
        return self.database.jobs.get(message.tenant_id, message.job_id).status

    def error(self, message: EmbedRequested) -> tuple[str, str] | None:
        error = self.database.jobs.get(message.tenant_id, message.job_id).error
        return (error.code, error.message) if error else None
