"""What a change may cost unseen: import time of the functions, bytes of the messages."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from embedpipe.adapters.memory import MemoryBlobs, MemoryDatabase
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.messages import ChunkRequested, EmbedRequested, StoreRequested, decode
from embedpipe.ports import Admission, OutboxRow
from embedpipe.stages.chunk import chunk

from bench.admitted import new_job, requested

ROOT = Path(__file__).resolve().parent.parent


def import_ms(module: str, *, runs: int = 5) -> float:
    """Milliseconds to import a module in a new interpreter, above a bare start; median."""
    return 1000 * (_start_s(f"import {module}", runs) - _start_s("pass", runs))


def message_bytes(models_dir: Path, model_id: str, text: str) -> dict[str, float]:
    """Bytes of the three messages of one document; embed and store also per chunk."""
    models = ModelsDirectory(models_dir)
    model = models.get(model_id)
    database = MemoryDatabase()
    database.create_tenant("default", model)
    asked: list[OutboxRow] = []

    def row(admission: Admission) -> OutboxRow:
        asked.append(requested(admission, "00-" + "a" * 32 + "-" + "b" * 16 + "-01"))
        return asked[-1]

    database.jobs.admit(new_job(text, "document"), row)
    rows = chunk(
        decode(ChunkRequested, asked[0].body),
        jobs=database.jobs,
        blobs=MemoryBlobs(),
        models=models,
        batch_chunks=64,
        max_message_bytes=1_048_576,
    )
    wanted = [decode(EmbedRequested, row.body) for row in rows]
    chunks = sum(message.chunk_count for message in wanted)
    stored = [_store_bytes(message, model.dimensions) for message in wanted]
    return {
        "document bytes": len(text.encode()),
        "chunks": chunks,
        "chunk message": len(asked[0].body),
        "embed messages": len(rows),
        "embed bytes per chunk": sum(len(row.body) for row in rows) / chunks,
        "store bytes per chunk": sum(stored) / chunks,
    }


def _store_bytes(message: EmbedRequested, dimensions: int) -> int:
    fields = message.model_dump(exclude={"tokens", "texts", "msg_schema", "schema_url"})
    vectors = base64.b64encode(bytes(4 * dimensions * message.chunk_count)).decode()
    return len(StoreRequested(**fields, dimensions=dimensions, vectors=vectors).encode())


def _start_s(code: str, runs: int) -> float:
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        seconds.append(time.perf_counter() - began)
    return median(seconds)
