"""What one message of the chunk and store stages costs on one core and a real PostgreSQL.

    python -m bench.service_times [--documents 200] [--out FILE]

One process, one connection, no queue: the stage functions themselves, with documents of several
lengths. Times are CPU seconds, of this process and of PostgreSQL, so that a busy machine changes
little; statements are counted, as each is a round trip to a database elsewhere. The straight line
through them is printed and written as JSON, in the form that `embedpipe plan --figures` takes.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import psycopg
from embedpipe.adapters.memory import MemoryBlobs
from embedpipe.adapters.postgres import PostgresDatabase
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.cli.plan.books import shipped
from embedpipe.messages import ChunkRequested, EmbedRequested, StoreRequested, decode
from embedpipe.ports import Admission, OutboxRow
from embedpipe.stages.chunk import chunk
from embedpipe.stages.store import store
from rich.console import Console
from rich.table import Table

from bench import texts
from bench.admitted import new_job, requested
from tests.postgres import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
MODEL = "all-MiniLM-L6-v2"
SIZES = (500, 2_000, 8_000, 32_000)


@dataclass
class Load:
    """What documents of one length came to, each on average."""

    chars: int
    documents: int
    tokens: float = 0.0
    chunks: float = 0.0
    batches: float = 0.0
    chunk_ms: float = 0.0
    store_ms: float = 0.0
    database_ms: float = 0.0
    chunk_statements: float = 0.0
    store_statements: float = 0.0
    row_bytes: float = 0.0


class Meter:
    """Counts statements, and the processor time of this process and of its database session."""

    def __init__(self, conninfo: str) -> None:
        self.statements = 0
        with psycopg.connect(conninfo, autocommit=True) as connection:
            row = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'embedpipe'"
            ).fetchone()
        assert row is not None
        self._session = psutil.Process(row[0])

    def database_s(self) -> float:
        """Processor seconds that the session used."""
        times = self._session.cpu_times()
        return float(times.user + times.system)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what psycopg sends, the beginning and end of transactions included."""
        cursor: Any = psycopg.Cursor
        connection: Any = psycopg.Connection
        originals = [(cursor, "execute", 1), (cursor, "copy", 1), (connection, "transaction", 2)]
        saved = [getattr(owner, name) for owner, name, _ in originals]
        for (owner, name, trips), original in zip(originals, saved, strict=True):
            setattr(owner, name, self._counted(original, trips))
        try:
            yield
        finally:
            for (owner, name, _), original in zip(originals, saved, strict=True):
                setattr(owner, name, original)

    def _counted(self, original: Any, trips: int) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.statements += trips
            return original(*arguments, **options)

        return counted


class Bench:
    """A migrated database of its own with one tenant."""

    def __init__(self, server: PostgresServer, models: ModelsDirectory) -> None:
        name = server.create_database()
        self.owner = server.conninfo(name)
        self._models = models
        maintenance = PostgresDatabase(
            server.conninfo(name, "embedpipe_maintenance"), min_size=0, max_size=1
        )
        maintenance.tenants.create("default", "enterprise", models.get(MODEL), actor="bench")
        maintenance.close()
        self.database = PostgresDatabase(
            server.conninfo(name, "embedpipe_app"), min_size=1, max_size=1
        )
        self._vectors = np.random.default_rng(0).random((1000, 384), dtype=np.float32)
        self._run(self._admit(texts.documents(20, 8000)))
        self.meter = Meter(self.owner)

    def load(self, chars: int, documents: int) -> Load:
        """Run documents of one length through both stages."""
        found = Load(chars, documents)
        size_before, cpu_before = self.row_bytes(), self.meter.database_s()
        asked = self._admit(texts.documents(documents, chars))
        began, self.meter.statements = time.process_time(), 0
        with self.meter.counting():
            bodies = [row.body for message in asked for row in self._chunked(message)]
        chunk_s, chunk_trips = time.process_time() - began, self.meter.statements
        messages = [self._answer(decode(EmbedRequested, body)) for body in bodies]
        began, self.meter.statements = time.process_time(), 0
        with self.meter.counting():
            for body in messages:
                store(decode(StoreRequested, body), jobs=self.database.jobs)
        store_s = time.process_time() - began
        found.chunks, found.tokens = self._counted(documents)
        found.batches = len(messages) / documents
        found.chunk_ms = 1000 * chunk_s / documents
        found.store_ms = 1000 * store_s / len(messages)
        found.database_ms = 1000 * (self.meter.database_s() - cpu_before) / documents
        found.chunk_statements = chunk_trips / documents
        found.store_statements = self.meter.statements / len(messages)
        found.row_bytes = (self.row_bytes() - size_before) / documents
        return found

    def row_bytes(self) -> int:
        """All tables with their indexes, after what is dead has gone."""
        with psycopg.connect(self.owner, autocommit=True) as connection:
            connection.execute("VACUUM")
            row = connection.execute(
                "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n"
                " ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _counted(self, documents: int) -> tuple[float, float]:
        with psycopg.connect(self.owner) as connection:
            row = connection.execute(
                "SELECT sum(chunks_total), sum(tokens_total) FROM"
                " (SELECT * FROM jobs ORDER BY created_at DESC LIMIT %s) AS last",
                (documents,),
            ).fetchone()
        assert row is not None
        return float(row[0]) / documents, float(row[1]) / documents

    def _run(self, messages: Sequence[ChunkRequested]) -> None:
        for message in messages:
            for row in self._chunked(message):
                body = self._answer(decode(EmbedRequested, row.body))
                store(decode(StoreRequested, body), jobs=self.database.jobs)

    def _admit(self, documents: Sequence[str]) -> list[ChunkRequested]:
        asked: list[OutboxRow] = []

        def row(admission: Admission) -> OutboxRow:
            asked.append(requested(admission))
            return asked[-1]

        for text in documents:
            self.database.jobs.admit(new_job(text), row)
        self.database.outbox.sent(asked)
        return [decode(ChunkRequested, row.body) for row in asked]

    def _chunked(self, message: ChunkRequested) -> list[OutboxRow]:
        rows = chunk(
            decode(ChunkRequested, message.encode()),
            jobs=self.database.jobs,
            blobs=MemoryBlobs(),
            models=self._models,
            batch_chunks=64,
            max_message_bytes=1_048_576,
        )
        self.database.outbox.sent(rows)
        return rows

    def _answer(self, message: EmbedRequested) -> str:
        fields = message.model_dump(exclude={"tokens", "texts", "msg_schema", "schema_url"})
        vectors = base64.b64encode(self._vectors[: message.chunk_count].tobytes()).decode()
        return StoreRequested(**fields, dimensions=384, vectors=vectors).encode()


def line(loads: Sequence[Load], of: Callable[[Load], float], by: Callable[[Load], float]) -> Any:
    """Give the fixed part and the part for each chunk of the straight line through the loads."""
    each, fixed = np.polyfit([by(one) for one in loads], [of(one) for one in loads], 1)
    return max(0.0, float(fixed)), float(each)


def figures(loads: Sequence[Load]) -> dict[str, dict[str, Any]]:
    """Give what the capacity model reckons with."""
    per_batch = [one for one in loads if one.batches == 1]
    chunk_ms = line(loads, lambda one: one.chunk_ms, lambda one: one.chunks)
    store_ms = line(per_batch, lambda one: one.store_ms, lambda one: one.chunks)
    database_ms = line(loads, lambda one: one.database_ms, lambda one: one.chunks)
    row_bytes = line(loads, _row_bytes, lambda one: one.chunks)
    found = {
        "chunk_ms": (chunk_ms[0], "ms"),
        "chunk_ms_per_chunk": (chunk_ms[1], "ms"),
        "chunk_trips": (max(one.chunk_statements for one in loads), "statements"),
        "store_ms": (store_ms[0], "ms"),
        "store_ms_per_chunk": (store_ms[1], "ms"),
        "store_trips": (max(one.store_statements for one in loads), "statements"),
        "database_ms_per_document": (database_ms[0], "ms"),
        "database_ms_per_chunk": (database_ms[1], "ms"),
        "row_bytes_per_document": (row_bytes[0], "B"),
        "row_bytes_per_chunk": (row_bytes[1], "B"),
    }
    source = f"bench.service_times on {os.cpu_count()} cores, {platform.machine()}"
    today = datetime.now(UTC).date().isoformat()
    return {
        name: {"value": round(value, 3), "unit": unit, "source": source, "date": today}
        for name, (value, unit) in found.items()
    }


def _row_bytes(load: Load) -> float:
    """Take off vectors, and texts: as posted, and cut."""
    cut = load.tokens * shipped("figures.yaml")["bytes_per_token"]
    return load.row_bytes - 1536 * load.chunks - load.chars - cut


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/service_times.json")
    arguments = parser.parse_args()
    models = ModelsDirectory(Path(os.environ.get("MODELS_DIR", ROOT / ".embedpipe" / "models")))
    server = PostgresServer()
    try:
        bench = Bench(server, models)
        loads = [bench.load(chars, arguments.documents) for chars in SIZES]
        bench.database.close()
    finally:
        server.close()
    console = Console(width=160)
    table = Table(*asdict(loads[0]))
    for one in loads:
        table.add_row(*(f"{value:,.1f}" for value in asdict(one).values()))
    console.print(table)
    found = figures(loads)
    for name, row in found.items():
        console.print(f"{name}: {row['value']} {row['unit']}")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(
        json.dumps({"loads": [asdict(one) for one in loads], "figures": found}, indent=2)
    )


if __name__ == "__main__":
    main()
