"""A running local cloud whose minutes pass when they are told to.

What is compressed, and nothing else: a minute is over when `measure` is called, however long it
took. Then the times in the tables that gauges read are set to what they would be (`minutes`), so
that ages and counts over a minute do not depend on how fast this machine is; and while the database
is slowed down, a millisecond of latency counts as several (`LATENCY_SCALE`). Maintenance is the
deployed function, invoked by us alone; everything else runs at its own pace.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from embedpipe import telemetry
from embedpipe.local.cloud import LocalCloud, Options
from embedpipe.local.environment import Environment, Function
from embedpipe.local.errors import InvocationError
from embedpipe.local.functions import Functions
from embedpipe.local.scheduler import Scheduler, scheduled_event

from tests.alarms.freezer import Freezer
from tests.alarms.logs import Found, Logs
from tests.alarms.minutes import Minutes
from tests.alarms.samples import Metric, Samples
from tests.alarms.versions import Deployments
from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.cloud import Cloud
from tests.e2e.texts import a_text

STAGES = ("chunk", "embed", "store")
QUEUES = {stage: f"{stage.title()}Queue" for stage in STAGES}
EVERY_QUEUE = (*QUEUES.values(), "EmbedHighQueue", "EmbedLowQueue")
DLQS = {stage: f"{stage.title()}Dlq" for stage in STAGES}
#: How many milliseconds of an alarm one counts for where it was made to last: what is provoked.
LATENCY_SCALE = 10.0
#: How often is measured anew what this machine was too slow to answer within 3 s.
MEASURED_ANEW = 5
ROOT = Path(__file__).parents[2]
VISIBILITY_S = 4
#: What takes longer than this has failed, however slow the machine is.
PATIENCE_S = 300
#: What a killed or frozen process held comes back in seconds, and nothing is rescued meanwhile.
ENVIRONMENT = {
    "EMBED_VISIBILITY_S": str(VISIBILITY_S),
    "EMBED_TUNE_S": "0",
    "EMBED_HEARTBEAT_S": "1",
    "EMBED_WAIT_S": "1",
    "EMBED_MESSAGE_MAX_CHUNKS": "1",
    "RESCUE_IDLE_S": "86400",
    "RETRY_BACKOFF_BASE_S": "0.1",
}
OPEN_JOBS = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
WAITING = """
    SELECT count(DISTINCT pid) FROM pg_locks WHERE relation = %s::regclass AND NOT granted
"""
#: One of each source that maintenance asks.
_GAUGES = {telemetry.QUEUE_AGE, telemetry.QUEUE_DEPTH, telemetry.DLQ_DEPTH, telemetry.DLQ_ARRIVALS}


class Pipeline:
    """Everything that is looked at and broken."""

    def __init__(self, directory: Path, models: Path) -> None:
        self.latency_scale = 1.0
        os.environ.update(ENVIRONMENT)
        self._directory = directory
        options = Options(ROOT, directory, models_dir=models, port=0, workers=0)
        self._cloud = LocalCloud(options)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud", daemon=True)
        self._worker: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()
        self._freezer = Freezer(self._pids)
        self._logs = Logs(directory / "logs")
        self.samples = Samples()

    def start(self) -> None:
        """Start the cloud, then a worker of our own; wait until a search would be answered."""
        self._thread.start()
        wait_until(
            lambda: self._ready.is_set() or not self._thread.is_alive(),
            what="a cloud",
            timeout_s=PATIENCE_S,
        )
        assert self._ready.is_set(), "the local cloud does not start"
        outside = Cloud(self._directory)
        outside.url = self._cloud.url
        self.client: Client = self._open.enter_context(outside.client())
        self.queues: Queues = self._open.enter_context(outside.queues())
        for queue in EVERY_QUEUE:
            self.queues.set_visibility(queue, VISIBILITY_S)
        self._database: str = outside.endpoint()["database"]
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "tests.alarms.worker"],
            env={**os.environ, **_variables(self._directory / "embed.env")},
            cwd=ROOT,
            stdout=(self._directory / "logs" / "worker.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        wait_until(self.client.is_healthy, what="a worker", timeout_s=PATIENCE_S)
        self._freezer.start()
        self.collection = self.client.create_collection()
        self._begin_minutes()

    def _begin_minutes(self) -> None:
        functions = self._functions()
        for clock in functions._clocks:
            if isinstance(clock, Scheduler):
                clock.ask_to_stop()
                clock.join(60)

        def make(function: Function) -> Environment:
            log = self._directory / "logs" / f"{function.name}.log"
            return Environment(function, guard=self._cloud._guard, log=log)

        self.deployments = Deployments(functions, self._directory, make)
        self._minutes = Minutes(self._open.enter_context(self.database()))
        self._logs.new_metrics()

    def _functions(self) -> Functions:
        assert self._cloud._functions is not None
        return self._cloud._functions

    def stop(self) -> None:
        """Stop everything."""
        self._freezer.stop()
        self._open.close()
        if self._worker is not None:
            self._worker.send_signal(signal.SIGCONT)
            self._worker.terminate()
            self._worker.wait(60)
        self._cloud.stop()
        self._thread.join(60)

    def submit(self, count: int, words: int = 12) -> list[str]:
        """Post documents; give their jobs."""

        def one(number: int) -> str:
            job = self.client.submit(self.collection, a_text(number, words))
            return str(job["job_id"])

        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(one, range(count)))

    def settle(self) -> None:
        """Wait until no job is open and every queue is empty."""
        wait_until(
            lambda: not any(map(self.queues.count, EVERY_QUEUE)) and not self._count(OPEN_JOBS),
            what="empty queues and no open job",
            timeout_s=PATIENCE_S,
        )

    def wait_for_worker(self) -> None:
        """Wait until the worker has printed what it did: it does so on its own."""
        self._logs.wait_for_lines("worker.log", 2)

    def wait_in(self, stage: str, count: int) -> None:
        """Wait until so many messages of a stage wait or are held."""
        wait_until(
            lambda: self.queues.count(QUEUES[stage]) >= count,
            what=f"{count} messages of {stage}",
            timeout_s=PATIENCE_S,
        )

    def act(self, verb: str, stage: str) -> None:
        """Pause or resume a stage."""
        body = {"stage": stage, "action": verb, "note": "make alarms"}
        answer = self.client.request("POST", "/embeddings/stage/control", json=body)
        assert answer.status_code == 200, answer.text

    def freeze(self, *stages: str) -> None:
        """Let processes of stages stand still until they are thawed; see `freezer`."""
        self._freezer.freeze(*stages)

    def thaw(self, *stages: str) -> None:
        """Let them go on."""
        self._freezer.thaw(*stages)

    def stalled(self) -> int:
        """Count the workers that miss their heartbeats."""
        return sum(1 for worker in self._workers() if worker["is_stalled"])

    def worker_says(self, state: str) -> bool:
        """Say whether the worker is in a state, as it tells operators."""
        return any(worker["state"] == state for worker in self._workers())

    def _workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]]
        found = self.client.request("GET", "/embeddings/orchestrator/workers").json()["items"]
        return found

    def waiting_for(self, table: str) -> int:
        """Count the connections that wait for a lock on a table."""
        return self._count(WAITING, table)

    def _count(self, statement: str, *values: str) -> int:
        with self.database() as database:
            row = database.execute(statement, values).fetchone()
        assert row is not None
        return int(row[0])

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection[Any]]:
        """Give a connection of the database's owner."""
        with psycopg.connect(self._database, autocommit=True) as connection:
            yield connection

    def measure(self, *, maintenance: bool = True) -> None:
        """End the minute: take the lines of all logs, and the counts of queues and invocations."""
        self.samples.now += 1
        found = self._logs.new_metrics()
        self._minutes.end()
        if maintenance:
            found += self._measured()
        self._minutes.begin()
        for stage, name, values in found:
            scale = self.latency_scale if name == telemetry.STAGE_LATENCY else 1.0
            metric = Metric(telemetry.NAMESPACE, name, stage)
            self.samples.add(metric, [value * scale for value in values])
        for metric, values in self.deployments.measured():
            self.samples.add(metric, values)
        for dlq in DLQS.values():
            visible = self.queues.count(dlq) - self.queues.in_flight(dlq)
            self.samples.add(
                Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", dlq), [float(visible)]
            )

    def _measured(self) -> Found:
        """Run maintenance; give what it printed, and again where a gauge is missing in that."""
        schedule = self._cloud._template.functions()["maintenance"].schedules[0]
        found: Found = []
        for _ in range(MEASURED_ANEW):
            try:
                self._functions().pools["maintenance"].invoke(scheduled_event(schedule))
            except InvocationError:
                return []
            found = self._logs.new_metrics("maintenance.log")
            if {name for _, name, _ in found} >= _GAUGES:
                break
        return found

    def _pids(self) -> Mapping[str, list[int]]:
        assert self._worker is not None
        return {**self._functions().pids(), "embed": [self._worker.pid]}

    def _run(self) -> None:
        self._cloud.run(lambda _url: self._ready.set())


def _variables(file: Path) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in file.read_text().splitlines() if line)
    return {name: value for name, _, value in pairs}
