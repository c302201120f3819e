"""A real worker with the real model, between queues in memory."""

from __future__ import annotations

import base64
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from aws_lambda_powertools import Logger
from embedpipe.adapters.memory import MemoryDatabase, MemoryQueue
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.domain.jobs import Chunking, JobError, JobRef, NewJob
from embedpipe.domain.retry import RetryPolicy
from embedpipe.domain.tokens import pack
from embedpipe.messages import EmbedRequested, StoreRequested, decode
from embedpipe.ports import Inbox, Jobs, NewBatch, NewChunk, Outbox, OutboxRow, Outgoing
from embedpipe.settings import EmbedSettings
from embedpipe.worker import Context, Ports, Worker

from bench.engine.loading import load_embedders

MODEL_ID = "all-MiniLM-L6-v2"
Floats = npt.NDArray[np.float32]
Ids = Sequence[int]


def settings_of(models_dir: Path, **overrides: Any) -> EmbedSettings:
    """Give the worker's own defaults, on the CPU, its endpoint on a free port."""
    required = {
        "DATABASE_URL": "postgresql://unused",
        "EMBED_QUEUE_URL": "embed",
        "EMBED_DLQ_URL": "embed-dlq",
        "STORE_QUEUE_URL": "store",
        "CONTENT_BUCKET": "content",
        "MODELS_DIR": str(models_dir),
        "EMBED_PROVIDER": "cpu",
        "EMBED_HTTP_PORT": 0,
        "EMBED_WAIT_S": 1.0,
    }
    return EmbedSettings.model_validate(required | overrides)


class Answers:
    """A store queue that counts what it gets and hands it on.

    Parameters
    ----------
    sink
        Gets every body; None keeps them in `bodies`.
    """

    def __init__(self, sink: Callable[[str], None] | None = None) -> None:
        self.bodies: list[str] = []
        self.count = 0
        self._sink = sink or self.bodies.append
        self._changed = Condition()

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        """Take all."""
        with self._changed:
            for message in messages:
                self._sink(message.body)
            self.count += len(messages)
            self._changed.notify_all()
        return {message.key for message in messages}

    def check(self) -> None:
        """Be there."""

    def backlog(self) -> int:
        """Hold nothing that anybody waits for."""
        return 0

    def clear(self) -> None:
        """Forget what came."""
        with self._changed:
            self.bodies.clear()
            self.count = 0

    def wait_for(self, count: int, timeout_s: float) -> None:
        """Wait until so many came. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.count >= count, timeout_s):
                raise TimeoutError(f"{self.count} of {count} messages in {timeout_s:.0f} s")


class Rig:
    """Queues, jobs and a model for one worker."""

    def __init__(
        self,
        settings: EmbedSettings,
        *,
        lanes: Sequence[str] = ("normal",),
        sink: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.models = ModelsDirectory(settings.models_dir)
        self.model = self.models.get(MODEL_ID)
        self.dlq = MemoryQueue("embed-dlq")
        self.queues: dict[str, Any] = {
            lane: MemoryQueue("embed", visibility_s=settings.visibility_s, dlq=self.dlq)
            for lane in lanes
        }
        self.answers = Answers(sink)
        self.jobs = JobBook(self.models)
        self.log = io.StringIO()

    def send(self, message: EmbedRequested, lane: str = "normal") -> None:
        """Put a message on its queue."""
        self.send_body(message.encode(), message.tenant_id, lane)

    def send_body(self, body: str, tenant: str, lane: str = "normal") -> None:
        """Put a message that is encoded already on its queue."""
        self.queues[lane].send([Outgoing("0", body, group_id=tenant)])

    def backlog(self) -> int:
        """Count messages that are not settled."""
        return sum(queue.backlog() for queue in self.queues.values())

    def settled(self, timeout_s: float = 60.0) -> None:
        """Wait until every message is settled. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while self.backlog():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.backlog()} messages are left")
            time.sleep(0.002)

    @contextmanager
    def running(self) -> Iterator[Worker]:
        """Run a worker in threads until the end of the block; its model is loaded first."""
        worker = self.prepared()
        with self.at_work(worker):
            yield worker

    def prepared(self) -> Worker:
        """Give a worker whose model is loaded, and that has received nothing."""
        worker = make_worker(
            self.settings, self.models, self.queues, self.answers, self.jobs.port, self.log
        )
        worker.prepare()
        return worker

    @contextmanager
    def at_work(self, worker: Worker) -> Iterator[None]:
        """Run a prepared worker in threads until the end of the block."""
        thread = Thread(target=worker.run, name="worker")
        thread.start()
        try:
            yield
        finally:
            worker.stop()
            thread.join(60)


def make_worker(
    settings: EmbedSettings,
    models: ModelsDirectory,
    queues: Mapping[str, Any],
    answers: Outbox,
    jobs: Jobs,
    log: IO[str],
) -> Worker:
    """Make a worker as `functions/embed_gpu` does, without a cache of vectors."""
    inboxes: Mapping[str, Inbox] = queues
    ports = Ports(
        inboxes=inboxes,
        store_queue=answers,
        jobs=jobs,
        embedders=load_embedders(settings, models),
        models=models,
        policy=RetryPolicy(),
        settings=settings,
    )
    logger = Logger(service=f"bench-{uuid4().hex}", stream=log)
    return Worker(Context.of(ports, logger=logger))


class JobBook:
    """Jobs in a memory database, as the chunk stage leaves them: one message each."""

    def __init__(self, models: ModelsDirectory, model_id: str = MODEL_ID) -> None:
        self._database = MemoryDatabase()
        self._model = models.get(model_id)
        self._tenants: set[str] = set()

    @property
    def port(self) -> Jobs:
        """What the worker asks."""
        return self._database.jobs

    def message(self, ids: Sequence[Ids], *, tenant: str = "acme") -> EmbedRequested:
        """Make a job and the embed message of all its chunks."""
        return self.request(self.job(len(ids), tenant=tenant), ids)

    def job(self, chunk_count: int, *, tenant: str = "acme") -> JobRef:
        """Make a job that waits for its vectors."""
        if tenant not in self._tenants:
            self._database.create_tenant(tenant, self._model)
            self._tenants.add(tenant)
        ref = self._admit(tenant)
        chunks = [NewChunk(at, at, at + 1, "x", 1, "0" * 64) for at in range(chunk_count)]
        self.port.begin_chunking(ref)
        self.port.finish_chunking(ref, chunks, [NewBatch(0, 0, chunk_count)], [])
        return ref

    def request(self, ref: JobRef, ids: Sequence[Ids]) -> EmbedRequested:
        """Make the embed message of all chunks of a job."""
        return EmbedRequested(
            tenant_id=ref.tenant_id,
            job_id=ref.job_id,
            epoch=ref.epoch,
            collection=ref.collection,
            document_id=ref.document_id,
            document_version=ref.version,
            batch_no=0,
            chunk_from=0,
            chunk_count=len(ids),
            model_id=self._model.model_id,
            fingerprint=self._model.fingerprint,
            tokens=pack(ids),
        )

    def error(self, tenant: str, job_id: str) -> JobError | None:
        """Say why a job failed; None when it did not."""
        return self.port.get(tenant, job_id).error

    def _admit(self, tenant: str) -> JobRef:
        job_id = str(uuid4())
        job = NewJob(
            tenant_id=tenant,
            job_id=job_id,
            collection="default",
            document_id=f"doc-{job_id}",
            content="x",
            content_uri=None,
            content_sha256="0" * 64,
            content_bytes=1,
            content_type="text/plain",
            chunking=Chunking(),
        )
        self.port.admit(job, lambda _: OutboxRow(tenant, "chunk", job_id, "{}"))
        return JobRef(tenant, job_id, 1, "default", job.document_id, 1)


def vectors_of(bodies: Sequence[str]) -> dict[str, Floats]:
    """Read answers: vectors by job id. Raises ValueError when a batch was answered twice."""
    answers = [decode(StoreRequested, body) for body in bodies]
    twice = [job for job, count in Counter(one.job_id for one in answers).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} batches were answered more than once")
    return {
        one.job_id: np.frombuffer(base64.b64decode(one.vectors), dtype="<f4").reshape(
            one.chunk_count, one.dimensions
        )
        for one in answers
    }
