"""From rows of jobs and chunks to the domain's values, and back."""

from __future__ import annotations

from embedpipe.adapters.memory.database_rows import ChunkRow, JobRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.jobs import Job
from embedpipe.ports import NewChunk


def read_job(state: State, row: JobRow) -> Job:
    """Give a job as a reader sees it; the caller holds the lock."""
    stored = [b.chunk_count for b in state.batches_of(row) if b.state == "stored"]
    version = state.document_versions[row.tenant_id, row.collection, row.document_id, row.version]
    return Job(
        tenant_id=row.tenant_id,
        job_id=row.job_id,
        collection=row.collection,
        document_id=row.document_id,
        version=row.version,
        epoch=row.epoch,
        status=row.status,
        tier=row.tier,
        priority=row.priority,
        chunks_total=row.chunks_total,
        chunks_stored=sum(stored),
        tokens_total=row.tokens_total,
        cost_usd=row.cost_usd,
        attempts=row.attempts,
        error=row.error,
        metadata=dict(version.metadata),
        created_at=row.created_at,
        chunking_at=row.chunking_at,
        embedding_at=row.embedding_at,
        storing_at=row.storing_at,
        finished_at=row.finished_at,
    )


def chunk_row(key: tuple[str, str, str, int], chunk: NewChunk) -> ChunkRow:
    """Give the row of a chunk of a version."""
    return ChunkRow(
        *key,
        chunk_index=chunk.index,
        start_offset=chunk.start,
        end_offset=chunk.end,
        text=chunk.text,
        tokens=chunk.tokens,
        content_sha256=chunk.content_sha256,
        heading_path=list(chunk.heading_path),
    )
