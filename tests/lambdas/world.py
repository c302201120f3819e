"""What the functions find when an event comes: database, queues, bucket, an embed worker.

All of it is the local cloud's, less the functions: those are somebody else's here. Addresses are of
loopback TCP, which a container in the host's network reaches, too.
"""

from __future__ import annotations

import hashlib
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.domain.jobs import JobRef
from embedpipe.local import databases, variables
from embedpipe.local.backing import Backing
from embedpipe.local.directory import DataDirectory
from embedpipe.local.emulator import client
from embedpipe.local.event_source import Poller
from embedpipe.local.functions import Workers
from embedpipe.local.lambda_api import LambdaApi
from embedpipe.local.process import Guard
from embedpipe.local.server import Server, listen
from embedpipe.local.template import FunctionTemplate, Template
from embedpipe.local.variables import Addresses
from embedpipe.models.directory import MANIFEST, TOKENIZER, ModelDirectory
from embedpipe.ports import ModelInfo

from tests.builders import a_message, a_new_job, a_ref
from tests.postgres import empty, read_table

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

ROOT = Path(__file__).parents[2]
#: What the events hold.
API_KEY = "not-a-real-key-0000"
TENANT = "tenant-a"
MODEL_ID = "all-MiniLM-L6-v2"
MODELS = "models"
WAIT_S = 120.0


def job_id(n: int) -> str:
    """Give the id of job n in the events."""
    return f"00000000-0000-4000-8000-{n:012d}"


class Mapping:
    """An event source mapping that can be switched, and from which nothing is received."""

    name = "mapping"

    def __init__(self) -> None:
        self.is_enabled = True

    def set_enabled(self, is_enabled: bool) -> None:
        self.is_enabled = is_enabled

    def describe(self) -> dict[str, Any]:
        return {"State": "Enabled" if self.is_enabled else "Disabled"}


@dataclass
class World:
    """What is around the functions, with ways to prepare it and to look at it."""

    template: Template
    addresses: Addresses
    owner: str
    database: PostgresDatabase
    maintenance: PostgresDatabase
    sqs: SQSClient
    model: ModelInfo
    mappings: dict[str, Mapping]

    def functions(self) -> dict[str, FunctionTemplate]:
        """Give the functions of the template by name."""
        return self.template.functions()

    def variables(self, function: str) -> dict[str, str]:
        """Give the environment of a function."""
        described = self.functions()[function]
        return variables.of_function(function, self.addresses, described.environment, given={})

    @property
    def models_uri(self) -> str:
        """Where functions find models, beside a folder of their own that is empty at first."""
        return f"s3://{self.addresses.bucket}/{MODELS}"

    def upload_model(self, directory: Path) -> None:
        """Put into the bucket what functions read of a model: its manifest and its tokenizer."""
        s3 = client("s3", self.addresses.endpoint_url)
        for name in (MANIFEST, TOKENIZER):
            key = f"{MODELS}/{directory.name}/{name}"
            data = (directory / name).read_bytes()
            s3.put_object(Bucket=self.addresses.bucket, Key=key, Body=data)

    def reset(self) -> None:
        """Leave nothing but the tenants of the events, with their collections."""
        empty(self.owner)
        for url in self.addresses.queue_urls.values():
            self.sqs.purge_queue(QueueUrl=url)
        for mapping in self.mappings.values():
            mapping.set_enabled(True)
        for tenant in (databases.TENANT, TENANT):
            self.maintenance.tenants.create(tenant, "enterprise", self.model)

    def admit(self, n: int, *, tenant: str = TENANT, **overrides: Any) -> JobRef:
        """Admit document n as job n; its message is not sent."""
        content = f"# Document {n}\n\n" + "Cats sleep most of the day. " * 20
        fields = {
            "tenant_id": tenant,
            "job_id": job_id(n),
            "document_id": f"doc-{n}",
            "content": content,
            "content_sha256": hashlib.sha256(content.encode()).hexdigest(),
            "content_bytes": len(content),
        }
        job = a_new_job(**{**fields, **overrides})
        return a_ref(job, self.database.jobs.admit(job, lambda _: a_message(job)))

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Give all rows of a table."""
        return read_table(self.owner, table)

    def jobs(self, tenant: str = TENANT) -> dict[int, str]:
        """Give the status of each job of a tenant by its number in the events."""
        found = {row["job_id"]: row for row in self.rows("jobs") if row["tenant_id"] == tenant}
        return {int(str(key)[-12:], 16): row["status"] for key, row in sorted(found.items())}

    def send(self, queue: str, records: list[dict[str, Any]]) -> None:
        """Send the bodies of an event's records to a queue, named as in the template."""
        for record in records:
            self.sqs.send_message(
                QueueUrl=self.addresses.queue_urls[queue], MessageBody=record["body"]
            )

    def messages(self, queue: str, count: int) -> list[dict[str, Any]]:
        """Wait for so many messages of a queue and take them: bodies, and why they are there."""
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + WAIT_S
        while len(found) < count and time.monotonic() < deadline:
            answer = self.sqs.receive_message(
                QueueUrl=self.addresses.queue_urls[queue],
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
            )
            for message in answer.get("Messages", []):
                reason = message.get("MessageAttributes", {}).get("error_code")
                code = reason.get("StringValue") if reason else None
                found.append({**json.loads(message["Body"]), "error_code": code})
        return sorted(found, key=lambda body: str(body.get("job_id")))

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; say whether it came to hold."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


@contextmanager
def a_world(data_dir: Path, models_dir: Path) -> Iterator[World]:
    """Start everything that the functions need; end it again."""
    directory = DataDirectory(data_dir, models_dir)
    template = Template.load(ROOT / "template.yaml")
    guard = Guard()
    with ExitStack() as stack:
        stack.callback(guard.close)
        backing = Backing(directory, template, guard=guard, is_reached_by_tcp=True)
        stack.callback(backing.stop)
        addresses = _by_tcp(backing.start(), backing, directory)
        workers = _a_worker(addresses, guard, directory.logs)
        stack.callback(workers.stop)
        mappings = {uuid: Mapping() for uuid in addresses.event_source_ids.values()}
        stack.callback(_lambda_api(addresses, mappings, directory.event_sources).stop)
        database = PostgresDatabase(addresses.database_url, min_size=0, max_size=2)
        stack.callback(database.close)
        maintenance = PostgresDatabase(addresses.maintenance_url, min_size=0, max_size=2)
        stack.callback(maintenance.close)
        assert backing.postgres is not None
        world = World(
            template=template,
            addresses=addresses,
            owner=backing.postgres.url("postgres"),
            database=database,
            maintenance=maintenance,
            sqs=client("sqs", addresses.endpoint_url),
            model=ModelDirectory.read(models_dir / MODEL_ID).info,
            mappings=mappings,
        )
        world.upload_model(models_dir / MODEL_ID)
        assert world.wait_until(lambda: _answers(addresses)), workers.children[0].exit_code()
        yield world


def _by_tcp(addresses: Addresses, backing: Backing, directory: DataDirectory) -> Addresses:
    assert backing.postgres is not None
    urls = {}
    for role in (databases.APP_ROLE, databases.MAINTENANCE_ROLE):
        secret = directory.password(role)
        databases.set_password(backing.postgres.url("postgres"), role, secret)
        urls[role] = backing.postgres.tcp_url(role, secret)
    return replace(
        addresses,
        database_url=urls[databases.APP_ROLE],
        maintenance_url=urls[databases.MAINTENANCE_ROLE],
        api_key=API_KEY,
    )


def _a_worker(addresses: Addresses, guard: Guard, logs: Path) -> Workers:
    workers = Workers(ROOT, addresses, [addresses.worker_port], guard=guard, logs=logs)
    [child] = workers.children
    # How fast it computes is not the question here.
    child.environment = {**(child.environment or {}), "EMBED_TUNE_S": "0"}
    workers.start()
    return workers


def _lambda_api(addresses: Addresses, mappings: dict[str, Mapping], state: Path) -> Server:
    port = urlsplit(addresses.lambda_url).port or 0
    pollers = cast("dict[str, Poller]", mappings)
    server = Server(LambdaApi(pollers, state), listen(port), "lambda")
    server.start()
    return server


def _answers(addresses: Addresses) -> bool:
    try:
        with urllib.request.urlopen(f"{addresses.worker_url}/health", timeout=5):
            return True
    except OSError:
        return False
