"""Everything that a run stands on: servers, proxies, queues, tenants, processes, clocks."""

from __future__ import annotations

import base64
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.local import databases, emulator, variables
from embedpipe.local.emulator import Emulator
from embedpipe.local.errors import LocalCloudError
from embedpipe.local.event_source import Poller
from embedpipe.local.lambda_api import LambdaApi
from embedpipe.local.postgres import Postgres
from embedpipe.local.process import Guard
from embedpipe.local.scheduler import Scheduler
from embedpipe.local.server import Server, listen
from embedpipe.local.template import Schedule, Template
from embedpipe.local.variables import Addresses
from psycopg.conninfo import conninfo_to_dict

from tests.chaos.forks import Zygote
from tests.chaos.plan import FUNCTION_LEASE_S, LEASE_S, TENANTS
from tests.chaos.processes import Function, Keeper, Role, Worker
from tests.chaos.proxies import Proxies
from tests.ministack import free_port
from tests.tiny_model import a_tiny_model

ROOT = Path(__file__).parents[2]
SLOW_S = 2.0 * LEASE_S
MAINTENANCE_EVERY_S = 3.0
COUNTS = {"api": 5, "chunk": 3, "store": 3, "maintenance": 1}
WORKERS = 4
MESSAGE_CHUNKS = 5
BUCKET = "embedpipe-content"
_TRIES = 20
ADMIN_KEY = "geheimschluessel-of-the-operator"
#: Not a key of anything else: 32 bytes, the same in every run.
DLQ_KEY = base64.b64encode(bytes(range(32))).decode()

#: Short waits and small batches: what takes minutes on AWS is to happen in seconds here.
SETTINGS = {
    "EMBED_VISIBILITY_S": str(LEASE_S),
    "EMBED_WAIT_S": "2",
    "EMBED_STOP_TIMEOUT_S": "6",
    "EMBED_BUFFER_TOKENS": "2048",
    "EMBED_MESSAGE_MAX_CHUNKS": str(MESSAGE_CHUNKS),
    "INLINE_CONTENT_BYTES": "400",
    "RETRY_BACKOFF_BASE_S": "0.02",
    "RETRY_BACKOFF_CAP_S": "2",
    "RESCUE_IDLE_S": "60",
    # Processes die a thousand times as often as they do elsewhere, whatever they work on.
    "MAX_DEATHS": "8",
    "POWERTOOLS_LOG_LEVEL": "WARNING",
    "DEFAULT_MODEL_ID": "tiny",
}


class World:
    """The pipeline of a run, on loopback, in a directory of its own."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.events = directory / "events"
        self.logs.mkdir(parents=True)
        self.guard = Guard()
        self.template = Template.load(ROOT / "template.yaml")
        self.model = a_tiny_model(directory)
        self.zygote = Zygote(ROOT, self.events, self.logs / "zygote.log", seed)
        self.postgres = Postgres(directory / "pg", guard=self.guard, log=self.logs / "postgres.log")
        self.postgres_lock = threading.Lock()
        self.emulator = Emulator(
            directory / "ministack",
            free_port(),
            guard=self.guard,
            log=self.logs / "ministack.log",
        )
        self.lambda_socket = listen(0)
        self.proxies: Proxies | None = None
        self.keys: dict[str, str] = {}

    def start(self) -> None:
        """Start servers, then processes, then pollers and schedules."""
        self._start_servers()
        self._make_tenants()
        self._make_processes()
        self.keeper.start()
        self.lambda_api.start()
        for clock in self.clocks:
            clock.start()

    def _start_servers(self) -> None:
        self.emulator.start()
        self.postgres.prepare()
        self.postgres.start()
        self.owner_url = self.postgres.url("postgres")
        self._without_fsync()
        databases.migrate(self.owner_url)
        self.sqs = emulator.wait_for_sqs(self.emulator.url, self.emulator.child)
        self.queue_urls = self._create_queues()
        emulator.create_bucket(self.emulator.url, BUCKET)
        host = conninfo_to_dict(self.owner_url)["host"]
        targets = {
            "postgres": f"{host}/.s.PGSQL.5432",
            "sqs": self.emulator.url.removeprefix("http://"),
        }
        self.proxies = Proxies(ROOT, targets, self.logs / "proxies.log")

    def _without_fsync(self) -> None:
        """Let the kernel keep what is written: the server crashes here, the machine does not."""
        import psycopg

        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            for name in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {name} = off".encode())
            connection.execute("SELECT pg_reload_conf()")

    def _create_queues(self) -> dict[str, str]:
        urls = emulator.create_queues(self.sqs, self.template)
        for name, url in urls.items():
            if not name.endswith("Dlq"):
                lease_s = LEASE_S if name.startswith("Embed") else FUNCTION_LEASE_S
                self.sqs.set_queue_attributes(
                    QueueUrl=url, Attributes={"VisibilityTimeout": str(lease_s)}
                )
        return urls

    def _make_tenants(self) -> None:
        database = PostgresDatabase(self.owner_url, min_size=0, max_size=1)
        # The owner is a superuser, whom row-level security does not hold.
        try:
            for tenant in ("default", *TENANTS):
                database.tenants.create(tenant, "enterprise", self.model.info, actor="chaos")
            self.keys = {tenant: database.tenants.create_key(tenant) for tenant in TENANTS}
        finally:
            database.close()

    def addresses(self) -> Addresses:
        """Where the functions find everything: behind the proxies."""
        assert self.proxies is not None
        host, ports = "127.0.0.1", self.proxies.ports
        endpoint = f"http://{host}:{ports['sqs']}"
        database = f"{host}:{ports['postgres']}/embedpipe?sslmode=disable&gssencmode=disable"
        return Addresses(
            endpoint_url=endpoint,
            queue_urls={
                name: url.replace(self.emulator.url, endpoint)
                for name, url in self.queue_urls.items()
            },
            bucket=BUCKET,
            database_url=f"postgresql://{databases.APP_ROLE}@{database}",
            maintenance_url=f"postgresql://{databases.MAINTENANCE_ROLE}@{database}",
            models_dir=str(self.directory),
            worker_url="http://127.0.0.1:9",
            worker_port=0,
            worker_token="geheim-of-the-endpoint",
            api_key=ADMIN_KEY,
            dlq_key=DLQ_KEY,
            lambda_url=f"http://{host}:{self.lambda_socket.getsockname()[1]}",
            event_source_ids=self.template.event_source_ids(),
        )

    def _make_processes(self) -> None:
        addresses, described = self.addresses(), self.template.functions()
        self.functions: dict[str, Function] = {}
        for name, count in COUNTS.items():
            function = described[name]
            made = variables.of_function(name, addresses, function.environment, given=SETTINGS)
            role = self._role(name, ROOT / function.code, made, function.timeout_s)
            self.functions[name] = Function(role, self.zygote, count)
        made = variables.of_function("embed", addresses, {}, given=SETTINGS)
        role = self._role("embed", ROOT, made, 0.0)
        program = ROOT / "functions" / "embed_gpu" / "app.py"
        self.workers = [Worker(role, self.zygote, program, SLOW_S) for _ in range(WORKERS)]
        self.keeper = Keeper(list(self.functions.values()), self.workers)
        mappings = self._pollers(addresses)
        self.clocks: list[Poller | Scheduler] = [*mappings.values(), self._schedule()]
        # What an operator pauses with: the part of Lambda's API that switches the mappings.
        switches = LambdaApi(mappings, self.directory / "event-sources.json")
        self.lambda_api = Server(switches, self.lambda_socket, "lambda")

    def _role(self, name: str, cwd: Path, made: dict[str, str], timeout_s: float) -> Role:
        common = {
            "PYTHONUNBUFFERED": "1",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "PATH": "/usr/bin:/bin",
        }
        return Role(name, cwd, {**common, **made}, self.logs / f"{name}.log", timeout_s)

    def _pollers(self, addresses: Addresses) -> dict[str, Poller]:
        sqs = emulator.client("sqs", addresses.endpoint_url, read_timeout_s=6.0)
        described = self.template.functions()
        return {
            source.uuid: Poller(
                source,
                sqs=sqs,
                queue_url=addresses.queue_urls[source.queue],
                queue_arn=self.template.queues[source.queue].arn,
                function=self.functions[name],
                concurrency=COUNTS[name],
            )
            for name in ("chunk", "store")
            for source in described[name].event_sources
        }

    def _schedule(self) -> Scheduler:
        schedule = Schedule("maintenance", MAINTENANCE_EVERY_S)
        return Scheduler(schedule, self.functions["maintenance"], first_after_s=2.0)

    def crash_postgres(self, down_s: float, pause: threading.Event) -> None:
        """Kill the server as a crash would, and start it again: no checkpoint, no goodbye."""
        with self.postgres_lock:
            child = self.postgres.child
            assert child is not None and child.pid is not None
            os.kill(child.pid, signal.SIGQUIT)
            while child.exit_code() is None:
                time.sleep(0.01)
            pause.wait(down_s)
            for _ in range(_TRIES):
                try:
                    return self.postgres.start()
                # What the crash left may still be about to end.
                except LocalCloudError:
                    time.sleep(0.2)
            raise RuntimeError("PostgreSQL does not start again")

    def depths(self) -> dict[str, int]:
        """Count the messages of every queue, whatever their state."""
        found: dict[str, int] = {}
        for queue, url in self.queue_urls.items():
            answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            counts: Any = answer["Attributes"]
            found[queue] = sum(
                int(counts.get(f"ApproximateNumberOfMessages{state}", 0))
                for state in ("", "NotVisible", "Delayed")
            )
        return found

    def stop(self) -> None:
        """Stop pollers, processes, proxies and servers; whatever has been started, and no more."""
        for clock in getattr(self, "clocks", []):
            clock.ask_to_stop()
        for function in getattr(self, "functions", {}).values():
            function.close()
        for clock in getattr(self, "clocks", []):
            clock.join(4.0)
        with suppress(AttributeError, RuntimeError):
            self.keeper.stop()
            self.lambda_api.stop()
        self.zygote.close()
        if self.proxies is not None:
            self.proxies.close()
        self.emulator.child.kill()
        self.postgres.stop()
        self.guard.close()
