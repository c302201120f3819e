"""Controls of stages in PostgreSQL."""

from __future__ import annotations

from typing import Any

from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.domain.audit import Act
from embedpipe.domain.controls import CONTROLLED, Control, ControlAction, StageState
from embedpipe.errors import NotFoundError
from embedpipe.sql import statement


class PostgresControls:
    """`ports.Controls` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def all(self) -> list[Control]:
        """See `ports.Controls.all`."""
        with self._sessions.transaction() as connection:
            rows = connection.execute(statement("controls", "all")).fetchall()
        return sorted(map(_control, rows), key=lambda one: CONTROLLED.index(one.stage))

    def get(self, stage: str) -> Control:
        """See `ports.Controls.get`."""
        for control in self.all():
            if control.stage == stage:
                return control
        raise no_such_stage()

    def states(self) -> dict[str, StageState]:
        """See `ports.Controls.states`."""
        with self._sessions.transaction() as connection:
            rows = connection.execute(statement("controls", "states")).fetchall()
        return {row["stage"]: StageState(row["state"]) for row in rows}

    def set(self, stage: str, action: ControlAction, act: Act) -> Control:
        """See `ports.Controls.set`."""
        if stage not in CONTROLLED:
            raise no_such_stage()
        parameters = {
            "stage": stage,
            "state": action.state.value,
            "changed_by": act.actor.name,
            "note": act.note,
        }
        tenant_id = act.actor.tenant_id
        with self._sessions.transaction(tenant_id, as_operator=True) as connection:
            row = connection.execute(statement("controls", "lock"), parameters).fetchone()
            if row is None:
                raise no_such_stage()
            is_change = row["state"] != action.state
            if is_change:
                connection.execute(statement("controls", "set"), parameters)
            write_down(connection, act, action.state if is_change else "unchanged")
        return self.get(stage)

    def with_work(self) -> frozenset[str]:
        """See `ports.Controls.with_work`."""
        with self._sessions.transaction(as_operator=True) as connection:
            row = connection.execute(statement("controls", "with_work")).fetchone()
        return frozenset(stage for stage, has_work in (row or {}).items() if has_work)


def no_such_stage() -> NotFoundError:
    """Give the error for a stage that there is not."""
    return NotFoundError("there is no such stage", code="STAGE_NOT_FOUND")


def _control(row: dict[str, Any]) -> Control:
    return Control(**{**row, "state": StageState(row["state"])})
