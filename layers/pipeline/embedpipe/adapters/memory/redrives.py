"""Redrives in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from embedpipe.adapters.dead_letter_rules import not_running
from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_rows import RedriveRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EntryState
from embedpipe.ports.redrives import Redrive


class MemoryRedrives:
    """`ports.Redrives` on a dictionary, by id."""

    def __init__(self, state: State) -> None:
        self._state = state

    def start(self, stage: str, *, max_per_second: int, to_move: int, act: Act) -> Redrive:
        """See `ports.Redrives.start`."""
        with self._state.lock:
            if (row := self._open(stage)) is not None:
                return row.redrive
            now = self._state.now()
            redrive = Redrive(
                stage=stage,
                redrive_id=str(uuid4()),
                status="running",
                task_handle=None,
                max_per_second=max_per_second,
                to_move=to_move,
                moved=0,
                started_by=act.actor.name,
                note=act.note[:1000],
                started_at=now,
                updated_at=now,
                reason="",
            )
            self._state.redrives[redrive.redrive_id] = RedriveRow(redrive)
            write_down(self._state, act, "started")
            return redrive

    def newest(self, stage: str) -> Redrive | None:
        """See `ports.Redrives.newest`."""
        with self._state.lock:
            found = [
                row.redrive for row in self._state.redrives.values() if row.redrive.stage == stage
            ]
            return max(found, key=lambda redrive: redrive.started_at, default=None)

    def lease(self, stage: str, owner: str, lease_s: float) -> Redrive | None:
        """See `ports.Redrives.lease`."""
        with self._state.lock:
            row = self._open(stage)
            if row is None:
                return None
            now = self._state.now()
            is_free = row.lease_until is None or row.lease_until < now
            if not is_free and row.lease_owner != owner:
                return None
            row.lease_owner, row.lease_until = owner, now + timedelta(seconds=lease_s)
            return row.redrive

    def progress(self, redrive: Redrive, owner: str, moved: Sequence[str], lease_s: float) -> bool:
        """See `ports.Redrives.progress`."""
        with self._state.lock:
            row = self._state.redrives[redrive.redrive_id]
            if row.lease_owner != owner or not row.redrive.is_open:
                return False
            now = self._state.now()
            row.lease_until = now + timedelta(seconds=lease_s)
            row.redrive = replace(row.redrive, moved=row.redrive.moved + len(moved), updated_at=now)
            for entry_id in moved:
                entry = self._state.dlq_entries.get((redrive.stage, entry_id))
                if entry is not None:
                    entry.state, entry.note = EntryState.REQUEUED, row.redrive.note
                    entry.changed_by, entry.changed_at = row.redrive.started_by, now
            return row.redrive.status == "running"

    def hand_over(self, redrive: Redrive, owner: str, task_handle: str, to_move: int) -> None:
        """See `ports.Redrives.hand_over`."""
        with self._state.lock:
            row = self._state.redrives[redrive.redrive_id]
            if row.lease_owner == owner and row.redrive.is_open:
                most = max(row.redrive.to_move, to_move)
                row.redrive = replace(row.redrive, task_handle=task_handle, to_move=most)

    def update(
        self, redrive: Redrive, *, status: str, moved: int | None = None, reason: str = ""
    ) -> Redrive:
        """See `ports.Redrives.update`."""
        with self._state.lock:
            row = self._state.redrives[redrive.redrive_id]
            if row.redrive.is_open:
                if (row.redrive.status, status) == ("cancelling", "running"):
                    status = "cancelling"
                count = row.redrive.moved if moved is None else moved
                now = self._state.now()
                row.redrive = replace(
                    row.redrive, status=status, moved=count, reason=reason, updated_at=now
                )
                if not row.redrive.is_open:
                    row.lease_until = None
            return row.redrive

    def release(self, redrive: Redrive, owner: str) -> None:
        """See `ports.Redrives.release`."""
        with self._state.lock:
            row = self._state.redrives[redrive.redrive_id]
            if row.lease_owner == owner:
                row.lease_owner = row.lease_until = None

    def cancel(self, stage: str, act: Act) -> Redrive:
        """See `ports.Redrives.cancel`."""
        with self._state.lock:
            row = self._open(stage)
            if row is None:
                raise not_running()
            row.redrive = replace(row.redrive, status="cancelling", updated_at=self._state.now())
            write_down(self._state, act, "cancelling")
            return row.redrive

    def _open(self, stage: str) -> RedriveRow | None:
        rows = self._state.redrives.values()
        return next(
            (row for row in rows if row.redrive.stage == stage and row.redrive.is_open), None
        )
