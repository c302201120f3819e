"""Heartbeats of workers in PostgreSQL."""

from __future__ import annotations

from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.ports.heartbeats import KEPT_BEATS, KEPT_S, MISSED_BEATS, WorkerBeat
from embedpipe.sql import statement


class PostgresHeartbeats:
    """`ports.Heartbeats` on PostgreSQL, by the clock of the server."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def beat(
        self, worker_id: str, stage: str, state: str, in_flight: int, interval_s: float
    ) -> None:
        """See `ports.Heartbeats.beat`."""
        parameters = {
            "worker_id": worker_id,
            "stage": stage,
            "state": state,
            "in_flight": in_flight,
            "interval_s": interval_s,
            "kept_s": KEPT_S,
            "kept_beats": KEPT_BEATS,
        }
        # The next beat makes up for one that a crash of the server loses.
        with self._sessions.transaction(durable=False) as connection:
            connection.execute(statement("heartbeats", "beat"), parameters)

    def leave(self, worker_id: str) -> None:
        """See `ports.Heartbeats.leave`."""
        with self._sessions.transaction(durable=False) as connection:
            connection.execute(statement("heartbeats", "leave"), {"worker_id": worker_id})

    def all(self) -> list[WorkerBeat]:
        """See `ports.Heartbeats.all`."""
        with self._sessions.transaction() as connection:
            rows = connection.execute(
                statement("heartbeats", "all"), {"missed": MISSED_BEATS}
            ).fetchall()
        return [WorkerBeat(**row) for row in rows]
