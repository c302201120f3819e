"""Jobs that stopped moving, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.fences import fence, lock_document
from embedpipe.adapters.postgres.outbox import insert_outbox
from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.domain.audit import Act
from embedpipe.domain.jobs import JobRef, JobStatus
from embedpipe.ports import OutboxRow, Stalled
from embedpipe.sql import statement


class PostgresRescues:
    """`ports.Rescues` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def stalled(
        self,
        statuses: Sequence[JobStatus],
        *,
        idle_s: float,
        is_queue_empty: bool,
        limit: int = 100,
    ) -> list[Stalled]:
        """See `ports.Rescues.stalled`."""
        parameters = {
            "statuses": [status.value for status in statuses],
            "idle_s": idle_s,
            "is_queue_empty": is_queue_empty,
            "limit": limit,
        }
        with self._sessions.transaction() as connection:
            rows = connection.execute(statement("rescues", "stalled"), parameters).fetchall()
        return [
            Stalled(
                ref=JobRef(
                    tenant_id=row["tenant_id"],
                    job_id=str(row["job_id"]),
                    epoch=row["epoch"],
                    collection=row["collection"],
                    document_id=row["document_id"],
                    version=row["version"],
                ),
                rescues=row["rescues"],
                touched_at=row["touched_at"],
                traceparent=row["traceparent"],
            )
            for row in rows
        ]

    def restart(
        self, job: Stalled, outbox: Callable[[JobRef], OutboxRow], act: Act | None = None
    ) -> OutboxRow | None:
        """See `ports.Rescues.restart`."""
        parameters = {
            **fence(job.ref),
            "touched_at": job.touched_at,
            "counts_anew": act is not None,
        }
        tenant_id, as_operator = job.ref.tenant_id, act is not None
        with self._sessions.transaction(tenant_id, as_operator=as_operator) as connection:
            if not lock_document(connection, parameters):
                return None
            row = connection.execute(statement("rescues", "restart"), parameters).fetchone()
            if row is None:
                return None
            connection.execute(statement("chunks", "remove_version"), parameters)
            connection.execute(statement("rescues", "remove_batches"), parameters)
            message = outbox(replace(job.ref, epoch=row["epoch"]))
            insert_outbox(connection, job.ref.tenant_id, [message])
            if act is not None:
                write_down(connection, act, f"restarted in epoch {row['epoch']}")
            return message
