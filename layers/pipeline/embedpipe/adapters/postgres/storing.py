"""What the embed and store stages do to a job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from embedpipe.adapters.float_rows import read_rows
from embedpipe.adapters.postgres.fences import fence, lock_document
from embedpipe.adapters.postgres.sessions import Connection
from embedpipe.adapters.postgres.skips import cancel_skipped
from embedpipe.adapters.postgres.vector_arrays import VectorArray
from embedpipe.domain.jobs import BatchRef, JobStatus
from embedpipe.errors import DimensionMismatchError, ModelMismatchError
from embedpipe.sql import statement


def by_tenant(batches: Sequence[BatchRef]) -> Iterator[tuple[str, list[BatchRef]]]:
    """Part batches by tenant: a transaction sees one."""
    groups: dict[str, list[BatchRef]] = defaultdict(list)
    for ref in batches:
        groups[ref.job.tenant_id].append(ref)
    yield from groups.items()


def pending(connection: Connection, tenant_id: str, batches: Sequence[BatchRef]) -> set[BatchRef]:
    """See `ports.Jobs.pending`; the batches are of one tenant."""
    columns = {
        "tenant_id": tenant_id,
        "job_ids": [ref.job.job_id for ref in batches],
        "epochs": [ref.job.epoch for ref in batches],
        "collections": [ref.job.collection for ref in batches],
        "document_ids": [ref.job.document_id for ref in batches],
        "versions": [ref.job.version for ref in batches],
        "batch_nos": [ref.batch_no for ref in batches],
    }
    rows = connection.execute(statement("batches", "pending"), columns)
    wanted = {batches[row["position"] - 1] for row in rows}
    if unwanted := {ref.job.job_id for ref in batches if ref not in wanted}:
        cancel_skipped(connection, tenant_id, sorted(unwanted))
    return wanted


def store(
    connection: Connection, ref: BatchRef, fingerprint: str, dimensions: int, vectors: bytes
) -> bool:
    """See `ports.Jobs.store`."""
    parameters = {**fence(ref.job), "batch_no": ref.batch_no}
    if not lock_document(connection, parameters):
        return False
    row = connection.execute(statement("batches", "lock"), parameters).fetchone()
    if row is None:
        cancel_skipped(connection, ref.job.tenant_id, [ref.job.job_id])
        return False
    if row["fingerprint"] != fingerprint:
        raise ModelMismatchError
    if row["dimensions"] != dimensions:
        raise DimensionMismatchError
    values = read_rows(vectors, row["chunk_count"], dimensions)
    stored = connection.execute(
        statement("batches", "store"),
        {
            **parameters,
            "chunk_from": row["chunk_from"],
            "fingerprint": fingerprint,
            "vectors": VectorArray(values, dimensions),
        },
    ).fetchone()
    assert stored is not None
    if stored["status"] == JobStatus.SUCCEEDED:
        connection.execute(statement("chunks", "publish"), parameters)
    return True


def spend_attempt(connection: Connection, ref: BatchRef) -> int:
    """Count a failed attempt of a batch; 0 when it is not wanted."""
    parameters = {**fence(ref.job), "batch_no": ref.batch_no}
    if not lock_document(connection, parameters):
        return 0
    if connection.execute(statement("batches", "lock"), parameters).fetchone() is None:
        return 0
    row = connection.execute(statement("batches", "spend_attempt"), parameters).fetchone()
    return int(row["attempts"]) if row else 0
