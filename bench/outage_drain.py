"""A backlog drains by itself after an outage of each dependency.

Run with `python -m bench.outage_drain`. The local cloud with the real handlers and model, its
database, queues and bucket behind a proxy. For each outage: the chunk stage is paused, documents
are admitted, the stage is resumed, the dependency goes away and comes back; from then on nobody
does anything. Prints a table; exits with 1 when a job was lost, failed, doubled or is in a DLQ.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import psutil  # type: ignore[import-untyped]
import psycopg
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.s3 import S3Blobs
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.stages.submit import Submission, submit

from bench import cloud
from tests.faults.proxy import Proxy
from tests.ministack import ministack
from tests.postgres import PostgresServer

OUTAGES = ("database", "queue and bucket", "embed worker")
_DRAIN_S = 3600.0
_COUNTS = """
SELECT count(*) AS accepted,
    count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE status IN ('failed', 'cancelled')) AS failed,
    (SELECT count(*) FROM chunks c JOIN jobs USING (tenant_id, collection, document_id)
        WHERE collection = %(collection)s) AS chunks,
    (SELECT count(*) FROM embeddings e JOIN jobs USING (tenant_id, collection, document_id)
        WHERE collection = %(collection)s) AS vectors
FROM jobs
WHERE collection = %(collection)s
"""


class Drill:
    """A local cloud behind proxies, and ways to look behind them."""

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = stack.enter_context(ministack(folder))
        server = PostgresServer()
        stack.callback(server.close)
        name = server.create_database()
        self.owner = server.conninfo(name)
        socket = self.owner.partition("host=")[2].split()[0]
        host, _, port = emulator.rpartition("//")[2].partition(":")
        self.database = stack.enter_context(Proxy(f"{socket}/.s.PGSQL.5432"))
        self.endpoint = stack.enter_context(Proxy((host, int(port))))
        self.cloud = stack.enter_context(
            cloud.running(
                f"--endpoint-url={self.endpoint.url}",
                f"--database-url=postgresql://postgres@127.0.0.1:{self.database.port}/{name}",
            )
        )
        self._told = json.loads((self.cloud.directory / "endpoint.json").read_text())
        make: Any = boto3.Session("test", "test", region_name="us-east-1").client
        self.sqs = make("sqs", endpoint_url=emulator)
        self.queues: dict[str, str] = self._told["queues"]
        database = PostgresDatabase(server.conninfo(name, "embedpipe_app"))
        stack.callback(database.close)
        self._admission = {
            "tenant_id": "default",
            "database": database,
            "blobs": S3Blobs(make("s3", endpoint_url=emulator), self._told["bucket"]),
            "models": ModelsDirectory(Path(os.environ.get("MODELS_DIR", _models()))),
            "chunk_queue": SqsQueue(self.sqs, self.queues["ChunkQueue"], stage="chunk"),
            "inline_content_bytes": 65_536,
        }
        self._http = httpx.Client(
            base_url=self.cloud.url + "/api/v1",
            headers={"X-API-KEY": self.cloud.api_key},
            timeout=30,
        )
        stack.callback(self._http.close)

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Ask the API for something."""
        self._http.post(path, json=body).raise_for_status()

    def admit(self, collection: str, count: int) -> None:
        """Admit small documents, as fast as can be."""
        admission: Any = self._admission

        def one(number: int) -> None:
            text = f"Document {number} of a backlog: a few words, of no great interest."
            submit(Submission(collection, text), **admission)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(one, range(count)))

    def counts(self, collection: str) -> dict[str, int]:
        """Count jobs, chunks and vectors."""
        with psycopg.connect(self.owner) as connection:
            cursor = connection.execute(_COUNTS, {"collection": collection})
            names = [column.name for column in cursor.description or ()]
            return dict(zip(names, cursor.fetchone() or (), strict=True))

    def dead(self) -> int:
        """Count what is in a DLQ."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = [
            self.sqs.get_queue_attributes(QueueUrl=self.queues[queue], AttributeNames=names)
            for queue in self.queues
            if queue.endswith("Dlq")
        ]
        return sum(int(one["Attributes"][name]) for one in found for name in names)

    @contextmanager
    def away(self, dependency: str, how: str) -> Iterator[None]:
        """Let something be away."""
        if dependency == "embed worker":
            workers = [psutil.Process(pid) for pid in self._told["pids"]["workers"]]
            for worker in workers:
                worker.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                for worker in workers:
                    worker.send_signal(signal.SIGCONT)
            return
        proxy = self.database if dependency == "database" else self.endpoint
        getattr(proxy, how)()
        try:
            yield
        finally:
            proxy.heal()


def drill(drill: Drill, dependency: str, messages: int, away_s: float, how: str) -> bool:
    """Have one outage; print its row and say whether all is well."""
    collection = f"drill-{uuid4().hex[:8]}"
    drill.post("/collections", {"collection": collection})
    drill.post("/embeddings/stage/control", {"stage": "chunk", "action": "pause"})
    drill.admit(collection, messages)
    drill.post("/embeddings/stage/control", {"stage": "chunk", "action": "resume"})
    with drill.away(dependency, how):
        time.sleep(away_s)
    began = time.monotonic()
    while True:
        found = drill.counts(collection)
        lost = found["accepted"] - found["succeeded"] - found["failed"]
        took_s = time.monotonic() - began
        if not lost or took_s > _DRAIN_S:
            break
        time.sleep(0.5)
    doubled, dead = found["vectors"] - found["chunks"], drill.dead()
    print(
        f"| {dependency} | {away_s:g} | {found['accepted']} | {took_s:.0f} | {lost} "
        f"| {found['failed']} | {dead} | {doubled} |",
        flush=True,
    )
    return found["accepted"] == messages and not (lost or found["failed"] or dead or doubled)


def main() -> int:
    """Have every outage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each outage lasts")
    parser.add_argument("--only", choices=OUTAGES)
    parser.add_argument("--how", choices=["refuse", "reset", "black_hole"], default="refuse")
    options = parser.parse_args()
    with ExitStack() as stack:
        made = Drill(stack)
        print("| away | for s | backlog | drained after s | lost | failed | in DLQ | duplicates |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        outages = [options.only] if options.only else OUTAGES
        well = [
            drill(made, outage, options.messages, options.seconds, options.how)
            for outage in outages
        ]
    return 0 if all(well) else 1


def _models() -> str:
    return str(cloud.ROOT / ".embedpipe" / "models")


if __name__ == "__main__":
    sys.exit(main())
