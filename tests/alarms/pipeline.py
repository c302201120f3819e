"""A running local cloud whose minutes pass when they are told to.

What is compressed, and nothing else: a minute is over when `measure` was called, however long it
took. Before each, every time in the tables that gauges read is moved back by 60 s, so that ages and
counts over a minute are what they would be; and a millisecond of latency counts as several
(`LATENCY_SCALE`). Maintenance is the deployed function, invoked by us; everything else runs at its
own pace.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from embedpipe import telemetry
from embedpipe.local.cloud import LocalCloud, Options
from embedpipe.local.scheduler import scheduled_event

from tests.alarms.samples import Metric, Samples
from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.cloud import Cloud
from tests.e2e.texts import a_text
from tests.emf import metrics_of

STAGES = ("chunk", "embed", "store")
QUEUES = {stage: f"{stage.title()}Queue" for stage in STAGES}
DLQS = {stage: f"{stage.title()}Dlq" for stage in STAGES}
#: How many milliseconds of an alarm one of ours counts for.
LATENCY_SCALE = 3.0
FREEZE_EVERY_S = 0.05
ROOT = Path(__file__).parents[2]
#: What a killed or frozen process held comes back in seconds, and nothing is rescued meanwhile.
ENVIRONMENT = {
    "EMBED_VISIBILITY_S": "4",
    "EMBED_TUNE_S": "0",
    "EMBED_HEARTBEAT_S": "1",
    "EMBED_WAIT_S": "1",
    "EMBED_MESSAGE_MAX_CHUNKS": "1",
    "RESCUE_IDLE_S": "86400",
    "RETRY_BACKOFF_BASE_S": "0.1",
}
_SCALED = {telemetry.STAGE_LATENCY}


class Pipeline:
    """Everything that is looked at and broken."""

    def __init__(self, directory: Path, models: Path, latency_scale: float = LATENCY_SCALE) -> None:
        self.latency_scale = latency_scale
        os.environ.update(ENVIRONMENT)
        self._directory = directory
        options = Options(ROOT, directory, models_dir=models, port=0, workers=0)
        self._cloud = LocalCloud(options)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud", daemon=True)
        self._worker: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()
        self._frozen: set[str] = set()
        self._is_over = threading.Event()
        self._freezer = threading.Thread(target=self._keep_frozen, name="freezer", daemon=True)
        self._read: dict[Path, int] = {}
        self.samples = Samples()

    def start(self) -> None:
        """Start the cloud, then a worker of our own; wait until a search would be answered."""
        self._thread.start()
        wait_until(
            lambda: self._ready.is_set() or not self._thread.is_alive(),
            what="a cloud",
            timeout_s=90,
        )
        assert self._ready.is_set(), "the local cloud does not start"
        outside = Cloud(self._directory)
        outside.url = self._cloud.url
        self.client: Client = self._open.enter_context(outside.client())
        self.queues: Queues = self._open.enter_context(outside.queues())
        for queue in (*QUEUES.values(), "EmbedHighQueue", "EmbedLowQueue"):
            self.queues.set_visibility(queue, 4)
        self._database: str = outside.endpoint()["database"]
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "tests.alarms.worker"],
            env={**os.environ, **_variables(self._directory / "embed.env")},
            cwd=ROOT,
            stdout=(self._directory / "logs" / "worker.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        wait_until(self.client.is_healthy, what="a worker", timeout_s=90)
        self._freezer.start()
        self.collection = self.client.create_collection()

    def stop(self) -> None:
        """Stop everything."""
        self._is_over.set()
        if self._freezer.is_alive():
            self._freezer.join()
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
        self.queues.wait_until_empty([*QUEUES.values(), "EmbedHighQueue", "EmbedLowQueue"])
        wait_until(lambda: not self.open_jobs(), what="no job is open", timeout_s=120)

    def wait_for_worker(self) -> None:
        """Wait until the worker has printed what it did: it does so on its own."""
        log = self._directory / "logs" / "worker.log"
        before = log.stat().st_size

        def has_told_twice() -> bool:
            with log.open("rb") as stream:
                stream.seek(before)
                return stream.read().count(b'"_aws"') >= 2

        wait_until(has_told_twice, what="the worker's metrics")

    def open_jobs(self) -> int:
        """Count the jobs that are not final."""
        with self.database() as database:
            row = database.execute(
                "SELECT count(*) FROM jobs"
                " WHERE status IN ('queued', 'chunking', 'embedding', 'storing')"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def wait_in(self, stage: str, count: int) -> None:
        """Wait until so many messages of a stage wait or are held."""
        wait_until(
            lambda: self.queues.count(QUEUES[stage]) >= count,
            what=f"{count} messages of {stage}",
            timeout_s=120,
        )

    def act(self, verb: str, stage: str) -> None:
        """Pause or resume a stage."""
        body = {"stage": stage, "action": verb, "note": "make alarms"}
        answer = self.client.request("POST", "/embeddings/stage/control", json=body)
        assert answer.status_code == 200, answer.text

    def freeze(self, *stages: str) -> None:
        """Let processes of stages stand still, as a host that hangs does, until they are thawed.

        Those that are started instead of them, as Lambda does after a timeout, stand still, too.
        """
        self._frozen.update(stages)
        self._signal(signal.SIGSTOP, *stages)

    def thaw(self, *stages: str) -> None:
        """Let them go on."""
        self._frozen.difference_update(stages)
        self._signal(signal.SIGCONT, *stages)

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

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection[Any]]:
        """Give a connection of the database's owner."""
        with psycopg.connect(self._database, autocommit=True) as connection:
            yield connection

    def pass_minute(self) -> None:
        """Begin the next minute: everything that was is 60 s older."""
        self.samples.now += 1
        with self.database() as database, database.transaction():
            database.execute("SET LOCAL session_replication_role = replica")
            for table in ("jobs", "outbox", "dlq_entries"):
                columns = database.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                    " AND table_schema = current_schema() AND data_type LIKE 'timestamp%%'",
                    [table],
                ).fetchall()
                moved = ", ".join(f"{name} = {name} - interval '60 s'" for (name,) in columns)
                database.execute(f"UPDATE {table} SET {moved}")

    def measure(self, *, maintenance: bool = True) -> None:
        """Take what this minute gave: the lines of all logs, and the counts of the queues."""
        found = self._new_metrics(drop="maintenance")
        if maintenance:
            functions = self._cloud._functions
            assert functions is not None
            schedule = self._cloud._template.functions()["maintenance"].schedules[0]
            functions.pools["maintenance"].invoke(scheduled_event(schedule))
        found += self._new_metrics()
        for stage, name, values in found:
            scale = self.latency_scale if name in _SCALED else 1.0
            metric = Metric(telemetry.NAMESPACE, name, stage)
            self.samples.add(metric, [value * scale for value in values])
        for dlq in DLQS.values():
            visible = self.queues.count(dlq) - self.queues.in_flight(dlq)
            self.samples.add(
                Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", dlq), [float(visible)]
            )

    def _new_metrics(self, *, drop: str = "") -> list[tuple[str, str, list[float]]]:
        found = []
        for log in (self._directory / "logs").glob("*.log"):
            lines = self._new_lines(log)
            if log.stem == drop:
                continue
            for stage, by_name in metrics_of(lines).items():
                found += [(stage, name, values) for name, values in by_name.items()]
        return found

    def _new_lines(self, log: Path) -> list[str]:
        with log.open("rb") as stream:
            stream.seek(self._read.get(log, 0))
            whole, _, _rest = stream.read().rpartition(b"\n")
        self._read[log] = self._read.get(log, 0) + len(whole) + bool(whole)
        return whole.decode(errors="replace").splitlines()

    def _keep_frozen(self) -> None:
        while not self._is_over.wait(FREEZE_EVERY_S):
            self._signal(signal.SIGSTOP, *self._frozen)

    def _signal(self, number: signal.Signals, *stages: str) -> None:
        functions = self._cloud._functions
        assert functions is not None and self._worker is not None
        by_stage = {**functions.pids(), "embed": [self._worker.pid]}
        for pid in [pid for stage in stages for pid in by_stage[stage]]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _is_up_or_gone(self) -> bool:
        return self._ready.is_set() or not self._thread.is_alive()

    def _run(self) -> None:
        self._cloud.run(lambda _url: self._ready.set())


def _variables(file: Path) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in file.read_text().splitlines() if line)
    return {name: value for name, _, value in pairs}
