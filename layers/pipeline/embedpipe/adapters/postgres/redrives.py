"""Redrives in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from embedpipe.adapters.dead_letter_rules import not_running
from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.audit import Act
from embedpipe.ports.redrives import Redrive
from embedpipe.sql import statement


class PostgresRedrives:
    """`ports.Redrives` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def start(self, stage: str, *, max_per_second: int, to_move: int, act: Act) -> Redrive:
        """See `ports.Redrives.start`."""
        parameters = {
            "stage": stage,
            "redrive_id": str(uuid4()),
            "max_per_second": max_per_second,
            "to_move": to_move,
            "started_by": act.actor.name,
            "note": act.note,
        }
        with self._sessions.transaction(as_operator=True) as connection:
            if connection.execute(statement("redrives", "start"), parameters).rowcount:
                write_down(connection, act, "started")
            found = _newest(connection, stage)
        assert found is not None
        return found

    def newest(self, stage: str) -> Redrive | None:
        """See `ports.Redrives.newest`."""
        with self._sessions.transaction() as connection:
            return _newest(connection, stage)

    def lease(self, stage: str, owner: str, lease_s: float) -> Redrive | None:
        """See `ports.Redrives.lease`."""
        parameters = {"stage": stage, "owner": owner, "lease_s": lease_s}
        with self._sessions.transaction() as connection:
            row = connection.execute(statement("redrives", "lease"), parameters).fetchone()
        return _redrive(row) if row else None

    def progress(self, redrive: Redrive, owner: str, moved: Sequence[str], lease_s: float) -> bool:
        """See `ports.Redrives.progress`."""
        parameters = {
            **_key(redrive),
            "owner": owner,
            "entry_ids": list(moved),
            "lease_s": lease_s,
        }
        with self._sessions.transaction(as_operator=True) as connection:
            done = connection.execute(statement("redrives", "progress"), parameters)
            return done.fetchone() is not None

    def hand_over(self, redrive: Redrive, owner: str, task_handle: str, to_move: int) -> None:
        """See `ports.Redrives.hand_over`."""
        also = {"owner": owner, "task_handle": task_handle, "to_move": to_move}
        self._change("hand_over", {**_key(redrive), **also})

    def update(
        self, redrive: Redrive, *, status: str, moved: int | None = None, reason: str = ""
    ) -> Redrive:
        """See `ports.Redrives.update`."""
        parameters = {**_key(redrive), "status": status, "moved": moved, "reason": reason}
        with self._sessions.transaction() as connection:
            connection.execute(statement("redrives", "update"), parameters)
            return _newest(connection, redrive.stage) or redrive

    def release(self, redrive: Redrive, owner: str) -> None:
        """See `ports.Redrives.release`."""
        self._change("release", {**_key(redrive), "owner": owner})

    def cancel(self, stage: str, act: Act) -> Redrive:
        """See `ports.Redrives.cancel`."""
        with self._sessions.transaction(as_operator=True) as connection:
            done = connection.execute(statement("redrives", "cancel"), {"stage": stage})
            found = _newest(connection, stage)
            if done.rowcount == 0 or found is None:
                raise not_running()
            write_down(connection, act, "cancelling")
            return found

    def _change(self, name: str, parameters: dict[str, Any]) -> None:
        with self._sessions.transaction() as connection:
            connection.execute(statement("redrives", name), parameters)


def _newest(connection: Connection, stage: str) -> Redrive | None:
    row = connection.execute(statement("redrives", "newest"), {"stage": stage}).fetchone()
    return _redrive(row) if row else None


def _redrive(row: dict[str, Any]) -> Redrive:
    return Redrive(**{**row, "redrive_id": str(row["redrive_id"])})


def _key(redrive: Redrive) -> dict[str, Any]:
    return {"stage": redrive.stage, "redrive_id": redrive.redrive_id}
