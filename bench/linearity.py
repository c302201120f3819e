"""One to ten workers a stage on real queues and a real database: whether they hinder each other.

    python -m bench.linearity [--workers 1,2,5,10] [--each 12] [--hold 1.0]

Every worker holds each message for a time, as a stand-in for work that happens elsewhere: a GPU, a
function's own processor. So ten workers need no ten processors, and what is missing from ten times
the throughput is lost in our queues, statements and locks, or in the processors of this machine.
MiniStack for the queues, PostgreSQL with fsync off, the stage functions and the relay as deployed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

from embedpipe.adapters.memory import MemoryBlobs
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.sqs import SqsQueue
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.messages import ChunkRequested, EmbedRequested, StoreRequested, decode
from embedpipe.ports import OutboxRow, Outgoing
from embedpipe.stages.chunk import chunk
from embedpipe.stages.relay import relay
from embedpipe.stages.store import store

from bench import texts
from bench.admitted import new_job, requested
from bench.service_times import MODEL, ROOT
from tests.ministack import ministack
from tests.postgres import PostgresServer

STAGES = ("chunk", "embed", "store")
CHARS = 2000
#: 1.0 as float32, little-endian: a vector of zeros would be refused.
ONE = struct.pack("<f", 1.0)


class Rig:
    """Queues, a database, and workers for each stage."""

    def __init__(self, endpoint_url: str, conninfo: str, hold_s: float) -> None:
        client = _client(endpoint_url)
        self.queues = {stage: _queue(client, stage) for stage in STAGES}
        self.database = PostgresDatabase(conninfo, min_size=1, max_size=30)
        self.stored = 0
        self._models = ModelsDirectory(
            Path(os.environ.get("MODELS_DIR", ROOT / ".embedpipe" / "models"))
        )
        self._hold_s = hold_s
        self._stop = Event()

    def post(self, documents: int) -> None:
        """Admit documents and send their messages."""
        asked: list[OutboxRow] = []

        def row(admission: Any) -> OutboxRow:
            asked.append(requested(admission))
            return asked[-1]

        for text in texts.documents(documents, CHARS):
            self.database.jobs.admit(new_job(text), row)
        relay(asked, outbox=self.database.outbox, queues=self.queues)

    def run(self, workers: int, documents: int) -> float:
        """Let so many workers a stage finish all documents; give documents a second."""
        self.stored = 0
        self._stop.clear()
        self.post(documents)
        began = time.perf_counter()
        with ThreadPoolExecutor(3 * workers) as pool:
            loops = [pool.submit(self._loop, stage) for stage in STAGES for _ in range(workers)]
            while self.stored < documents and not any(loop.done() for loop in loops):
                time.sleep(0.01)
            seconds = time.perf_counter() - began
            self._stop.set()
            for loop in loops:
                loop.result()
        return documents / seconds

    def _loop(self, stage: str) -> None:
        work: Callable[[str], None] = getattr(self, f"_{stage}")
        queue = self.queues[stage]
        while not self._stop.is_set():
            for received in queue.receive(max_messages=1, wait_s=1):
                time.sleep(self._hold_s)
                work(received.body)
                queue.ack([received])

    def _chunk(self, body: str) -> None:
        rows = chunk(
            decode(ChunkRequested, body),
            jobs=self.database.jobs,
            blobs=MemoryBlobs(),
            models=self._models,
            batch_chunks=64,
            max_message_bytes=1_048_576,
        )
        relay(rows, outbox=self.database.outbox, queues={"embed": self.queues["embed"]})

    def _embed(self, body: str) -> None:
        asked = decode(EmbedRequested, body)
        if not self.database.jobs.pending([asked.batch]):
            return
        fields = asked.model_dump(exclude={"tokens", "texts", "msg_schema", "schema_url"})
        vectors = base64.b64encode(ONE * (384 * asked.chunk_count)).decode()
        answer = StoreRequested(**fields, dimensions=384, vectors=vectors)
        self.queues["store"].send([Outgoing(asked.job_id, answer.encode(), group_id="default")])

    def _store(self, body: str) -> None:
        if store(decode(StoreRequested, body), jobs=self.database.jobs):
            self.stored += 1


def _client(endpoint_url: str) -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.Session("test", "test", region_name="us-east-1")
    # Botocore's ten connections would be what thirty workers wait for.
    return session.client("sqs", endpoint_url=endpoint_url, config=Config(max_pool_connections=64))


def _queue(client: Any, stage: str) -> SqsQueue:
    url = client.create_queue(QueueName=f"linearity-{stage}")["QueueUrl"]
    return SqsQueue(client, url, stage=stage)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="1,2,5,10")
    parser.add_argument("--each", type=int, default=12, help="documents for each worker")
    parser.add_argument("--hold", type=float, default=1.0, help="seconds that a message is held")
    arguments = parser.parse_args()
    server = PostgresServer()
    found: list[dict[str, float]] = []
    try:
        name = server.create_database()
        owner = PostgresDatabase(
            server.conninfo(name, "embedpipe_maintenance"), min_size=0, max_size=1
        )
        models = ModelsDirectory(Path(os.environ.get("MODELS_DIR", ROOT / ".embedpipe" / "models")))
        owner.tenants.create("default", "enterprise", models.get(MODEL), actor="bench")
        owner.close()
        with tempfile.TemporaryDirectory() as at, ministack(Path(at)) as endpoint_url:
            rig = Rig(endpoint_url, server.conninfo(name, "embedpipe_app"), arguments.hold)
            rig.run(2, 4)  # imports, connections, the tokenizer
            for workers in map(int, arguments.workers.split(",")):
                rate = rig.run(workers, workers * arguments.each)
                found.append({"workers": workers, "per_s": rate})
                times, load = rate / found[0]["per_s"], os.getloadavg()[0]
                print(
                    f"{workers} workers a stage: {rate:.2f} documents/s, {times:.2f} times, "
                    f"load {load:.0f}",
                    flush=True,
                )
            rig.database.close()
    finally:
        server.close()
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    (results / "linearity.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
