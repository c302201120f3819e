"""What a change may cost unseen: import time of the functions, bytes of the messages."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from uuid import uuid4

from embedpipe.adapters.memory import MemoryBlobs, MemoryDatabase
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.domain.jobs import Chunking, NewJob
from embedpipe.messages import ChunkRequested, EmbedRequested, StoreRequested, decode
from embedpipe.ports import Admission, OutboxRow
from embedpipe.stages.chunk import chunk

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
    bodies: list[str] = []

    def row(admission: Admission) -> OutboxRow:
        bodies.append(
            ChunkRequested(
                tenant_id="default",
                job_id=admission.job_id,
                epoch=admission.epoch,
                collection="default",
                document_id=admission.document_id,
                document_version=admission.version,
                traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            ).encode()
        )
        return OutboxRow("default", "chunk", admission.job_id, bodies[-1])

    data = text.encode()
    database.jobs.admit(
        NewJob(
            tenant_id="default",
            job_id=str(uuid4()),
            collection="default",
            document_id="document",
            content=text,
            content_uri=None,
            content_sha256=hashlib.sha256(data).hexdigest(),
            content_bytes=len(data),
            content_type="text/plain",
            chunking=Chunking(),
        ),
        row,
    )
    rows = chunk(
        decode(ChunkRequested, bodies[0]),
        jobs=database.jobs,
        blobs=MemoryBlobs(),
        models=models,
        batch_chunks=64,
        max_message_bytes=1_048_576,
    )
    requested = [decode(EmbedRequested, row.body) for row in rows]
    chunks = sum(message.chunk_count for message in requested)
    stored = [_store_bytes(message, model.dimensions) for message in requested]
    return {
        "document bytes": len(data),
        "chunks": chunks,
        "chunk message": len(bodies[0]),
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
