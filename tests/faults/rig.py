"""The whole pipeline in one process, with a proxy before everything that it depends on.

Real handlers, PostgreSQL, SQS and S3; the model is the fake one. Parts are started one by one, so
that what each of them does while something is away can be seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import boto3
from embedpipe import bootstrap
from embedpipe.adapters import aws
from embedpipe.adapters.memory import FakeEmbedder, FakeModels
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.domain.jobs import JobStatus
from embedpipe.local.event_source import Poller
from embedpipe.local.template import EventSource
from embedpipe.stages.submit import Submission, submit

from functions.chunk import app as chunk_app
from functions.embed_gpu.app import make_worker
from functions.maintenance import app as maintenance_app
from functions.store import app as store_app
from tests.faults.proxy import Proxy
from tests.faults.wiring import MODEL, embed_services
from tests.postgres import PostgresServer, read_table

TENANT = "default"
KEY = "a-key-of-the-rig-000"
QUEUES = ("chunk", "embed", "store")
DEPENDENCIES = ("database", "queue", "bucket")
#: What a queue hides a message for that nobody settles, in seconds: less than in production.
VISIBILITY_S = 6


class Function:
    """A handler as its event source mapping invokes it, with the time that Lambda would give."""

    def __init__(self, handle: Callable[..., dict[str, Any]], services: Any, timeout_s: float):
        self._handle, self._services, self._timeout_s = handle, services, timeout_s
        self.invocations = 0

    def invoke(self, event: Any) -> Any:
        """Run it on one event."""
        self.invocations += 1
        until = time.monotonic() + self._timeout_s
        return self._handle(event, self._services, has_time=lambda: time.monotonic() < until)


class Rig:
    """Queues, a bucket, a database, and the parts between them."""

    def __init__(self, server: PostgresServer, emulator_url: str, stack: ExitStack) -> None:
        name = server.create_database()
        self.owner = server.conninfo(name)
        directory = server.conninfo(name).partition("host=")[2].split()[0]
        host, _, port = emulator_url.rpartition("//")[2].partition(":")
        self.proxies = {
            "database": Proxy(f"{directory}/.s.PGSQL.5432"),
            "queue": Proxy((host, int(port))),
            "bucket": Proxy((host, int(port))),
        }
        for proxy in self.proxies.values():
            stack.enter_context(proxy)
        self._direct = {
            "endpoint_url": emulator_url,
            "region_name": "us-east-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
        }
        make: Any = boto3.client
        self.sqs: Any = make("sqs", **self._direct)
        self.urls = self._make_queues(f"rig-{uuid4().hex[:8]}")
        self.bucket = f"rig-{uuid4().hex[:8]}"
        make("s3", **self._direct).create_bucket(Bucket=self.bucket)
        database = self.proxies["database"]
        self._conninfo = f"host={database.host} port={database.port} dbname={name}"
        self.direct_database = PostgresDatabase(server.conninfo(name, "embedpipe_maintenance"))
        stack.callback(self.direct_database.close)
        self.direct_database.tenants.create(TENANT, "free", MODEL)
        stack.enter_context(_environment(self._environment()))
        aws.forget_clients()
        stack.callback(aws.forget_clients)

    def submit(self, count: int, *, large: bool = False) -> list[str]:
        """Admit documents through the API's own stage; give the ids of their jobs."""
        services = self.services("api")
        text = "some words of a document. " * (100 if large else 1)
        jobs = []
        for number in range(count):
            done = submit(
                Submission("default", f"{number} {text}"),
                tenant_id=TENANT,
                database=services.database,
                blobs=services.blobs,
                models=services.models,
                chunk_queue=services.chunk_queue,
                inline_content_bytes=1024,
            )
            jobs.append(done.admission.job_id)
        services.database.close()
        return jobs

    def services(self, part: str) -> Any:
        """Wire a part as its function does, but for the model."""
        role = "embedpipe_maintenance" if part == "maintenance" else "embedpipe_app"
        os.environ["DATABASE_URL"] = f"{self._conninfo} user={role}"
        if part == "embed":
            return embed_services(FakeEmbedder())
        wire: Any = getattr(bootstrap, part)
        wire.cache_clear()
        made = wire()
        return replace(made, models=FakeModels(MODEL)) if part in {"chunk", "api"} else made

    def part(self, name: str) -> AbstractContextManager[None]:
        """Run a part by its name."""
        run: Callable[[], AbstractContextManager[None]] = getattr(self, name)
        return run()

    @contextmanager
    def chunk(self) -> Iterator[None]:
        """Run the chunk function behind its event source mapping."""
        with self._function("chunk", chunk_app.handle, timeout_s=45):
            yield

    @contextmanager
    def store(self) -> Iterator[None]:
        """Run the store function behind its event source mapping."""
        with self._function("store", store_app.handle, timeout_s=22):
            yield

    @contextmanager
    def embed(self) -> Iterator[None]:
        """Run the embed worker."""
        services = self.services("embed")
        worker = make_worker(services)
        worker.prepare()
        thread = Thread(target=worker.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            worker.stop()
            thread.join(60)
            services.database.close()

    @contextmanager
    def maintenance(self, every_s: float = 2.0) -> Iterator[None]:
        """Run maintenance, more often than in production."""
        services, over = self.services("maintenance"), Event()

        def loop() -> None:
            while not over.wait(every_s):
                maintenance_app.handle({}, services)

        thread = Thread(target=loop, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(60)
            services.database.close()

    def statuses(self) -> dict[str, int]:
        """Count jobs by their status."""
        counts: dict[str, int] = {}
        for row in read_table(self.owner, "jobs"):
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        return counts

    def is_done(self) -> bool:
        """Say whether every job has succeeded."""
        return set(self.statuses()) == {JobStatus.SUCCEEDED.value}

    def depth(self, queue: str) -> int:
        """Count the messages of a queue, whoever holds them."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self.urls[queue]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def dead(self) -> int:
        """Count what is in any DLQ."""
        return sum(self.depth(f"{queue}-dlq") for queue in QUEUES)

    def release_outbox(self) -> int:
        """Let the claims of outbox rows run out, as they do after half a minute; count the rows."""
        import psycopg

        with psycopg.connect(self.owner) as connection:
            return connection.execute("UPDATE outbox SET claimed_until = now()").rowcount

    @contextmanager
    def _function(
        self, part: str, handle: Callable[..., dict[str, Any]], *, timeout_s: float
    ) -> Iterator[None]:
        services = self.services(part)
        poller = Poller(
            EventSource(part, reports_failures=True),
            sqs=self.sqs,
            queue_url=self.urls[part],
            queue_arn=f"arn:aws:sqs:us-east-1:000000000000:{part}",
            function=Function(handle, services, timeout_s),
        )
        poller.start()
        try:
            yield
        finally:
            poller.ask_to_stop()
            poller.join(60)
            services.database.close()

    def _make_queues(self, name: str) -> dict[str, str]:
        urls = {}
        for queue in QUEUES:
            dlq = self.sqs.create_queue(QueueName=f"{name}-{queue}-dlq")["QueueUrl"]
            asked = self.sqs.get_queue_attributes(QueueUrl=dlq, AttributeNames=["QueueArn"])
            arn = asked["Attributes"]["QueueArn"]
            urls[f"{queue}-dlq"] = dlq
            urls[queue] = self.sqs.create_queue(
                QueueName=f"{name}-{queue}",
                Attributes={
                    "VisibilityTimeout": str(VISIBILITY_S),
                    "RedrivePolicy": f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"10"}}',
                },
            )["QueueUrl"]
        return urls

    def _environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_SQS": self.proxies["queue"].url,
            "AWS_ENDPOINT_URL_S3": self.proxies["bucket"].url,
            "CONTENT_BUCKET": self.bucket,
            "DEFAULT_MODEL_ID": MODEL.model_id,
            "SINGLE_USER_API_KEY": KEY,
            "EMBED_PROVIDER": "cpu",
            "EMBED_HTTP_PORT": "0",
            "EMBED_WAIT_S": "1",
            "EMBED_VISIBILITY_S": str(VISIBILITY_S),
            "EMBED_STOP_TIMEOUT_S": "6",
            **{f"{queue.upper()}_QUEUE_URL": self.urls[queue] for queue in QUEUES},
            **{f"{queue.upper()}_DLQ_URL": self.urls[f"{queue}-dlq"] for queue in QUEUES},
        }


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("AWS_", "LOCALSTACK_")):
            del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
