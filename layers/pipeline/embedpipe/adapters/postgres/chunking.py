"""What the chunk stage does to a job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from embedpipe.adapters.postgres.fences import fence, lock_document
from embedpipe.adapters.postgres.outbox import insert_outbox
from embedpipe.adapters.postgres.sessions import Connection
from embedpipe.adapters.postgres.skips import cancel_skipped
from embedpipe.domain.jobs import Chunking, JobRef, Source
from embedpipe.ports import NewBatch, NewChunk, OutboxRow
from embedpipe.sql import statement


def begin_chunking(connection: Connection, ref: JobRef) -> Source | None:
    """See `ports.Jobs.begin_chunking`."""
    parameters = fence(ref)
    if not lock_document(connection, parameters):
        return None
    row = connection.execute(statement("jobs", "begin_chunking"), parameters).fetchone()
    if row is None:
        cancel_skipped(connection, ref.tenant_id, [ref.job_id])
        return None
    return Source(
        content=row["content"],
        content_uri=row["content_uri"],
        content_sha256=row["content_sha256"],
        content_type=row["content_type"],
        chunking=Chunking(row["chunk_size"], row["chunk_overlap"], row["chunk_unit"]),
        model_id=row["model_id"],
        fingerprint=row["fingerprint"],
        traceparent=row["traceparent"],
        priority=row["priority"],
        epoch=row["epoch"],
    )


def finish_chunking(
    connection: Connection,
    ref: JobRef,
    chunks: Sequence[NewChunk],
    batches: Sequence[NewBatch],
    outbox: Sequence[OutboxRow],
) -> bool:
    """See `ports.Jobs.finish_chunking`."""
    parameters = fence(ref)
    if not lock_document(connection, parameters):
        return False
    totals = {
        "chunks_total": len(chunks),
        "tokens_total": sum(chunk.tokens for chunk in chunks),
    }
    changed = connection.execute(statement("jobs", "finish_chunking"), {**parameters, **totals})
    if changed.rowcount == 0:
        cancel_skipped(connection, ref.tenant_id, [ref.job_id])
        return False
    connection.execute(statement("chunks", "remove_version"), parameters)
    if chunks:
        connection.execute(statement("chunks", "insert"), {**parameters, **_columns(chunks)})
    if batches:
        _insert_batches(connection, parameters, batches)
    else:
        connection.execute(statement("jobs", "succeed_without_chunks"), parameters)
        connection.execute(statement("chunks", "publish"), parameters)
    insert_outbox(connection, ref.tenant_id, outbox)
    return True


def _columns(chunks: Sequence[NewChunk]) -> dict[str, list[Any]]:
    return {
        "indexes": [chunk.index for chunk in chunks],
        "starts": [chunk.start for chunk in chunks],
        "ends": [chunk.end for chunk in chunks],
        "texts": [chunk.text for chunk in chunks],
        "tokens": [chunk.tokens for chunk in chunks],
        "digests": [chunk.content_sha256 for chunk in chunks],
        "headings": [
            json.dumps(list(chunk.heading_path)) if chunk.heading_path else "" for chunk in chunks
        ],
    }


def _insert_batches(
    connection: Connection, parameters: dict[str, Any], batches: Sequence[NewBatch]
) -> None:
    columns = {
        "batch_nos": [batch.batch_no for batch in batches],
        "chunk_froms": [batch.chunk_from for batch in batches],
        "chunk_counts": [batch.chunk_count for batch in batches],
    }
    connection.execute(statement("batches", "insert"), {**parameters, **columns})
