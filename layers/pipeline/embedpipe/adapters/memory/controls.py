"""Controls of stages in memory."""

from __future__ import annotations

from dataclasses import replace

from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import MAX_NOTE, Act
from embedpipe.domain.controls import CONTROLLED, Control, ControlAction, StageState
from embedpipe.domain.jobs import JobStatus
from embedpipe.domain.lanes import QUEUES
from embedpipe.errors import NotFoundError

_JOBS = {
    JobStatus.QUEUED: "chunk",
    JobStatus.CHUNKING: "chunk",
    JobStatus.EMBEDDING: "embed",
    JobStatus.STORING: "store",
}
# A row in the outbox is the work of whoever wrote it, or of whoever waits for it.
_OUTBOX = {"chunk": "submit", "store": "store", **dict.fromkeys(QUEUES.values(), "embed")}


class MemoryControls:
    """`ports.Controls` on a dictionary."""

    def __init__(self, state: State) -> None:
        self._state = state

    def all(self) -> list[Control]:
        """See `ports.Controls.all`."""
        with self._state.lock:
            now = self._state.now()
            return [
                replace(
                    control,
                    for_s=(now - (control.changed_at or now)).total_seconds(),
                )
                for control in (self._state.stage_controls[stage] for stage in CONTROLLED)
            ]

    def get(self, stage: str) -> Control:
        """See `ports.Controls.get`."""
        for control in self.all():
            if control.stage == stage:
                return control
        raise NotFoundError("there is no such stage", code="STAGE_NOT_FOUND")

    def states(self) -> dict[str, StageState]:
        """See `ports.Controls.states`."""
        return {control.stage: control.state for control in self.all()}

    def set(self, stage: str, action: ControlAction, act: Act) -> Control:
        """See `ports.Controls.set`."""
        with self._state.lock:
            held = self.get(stage)
            is_change = held.state is not action.state
            if is_change:
                self._state.stage_controls[stage] = Control(
                    stage,
                    action.state,
                    changed_by=act.actor.name,
                    changed_at=self._state.now(),
                    note=act.note[:MAX_NOTE],
                )
            write_down(self._state, act, action.state if is_change else "unchanged")
            return self.get(stage)

    def with_work(self) -> frozenset[str]:
        """See `ports.Controls.with_work`."""
        with self._state.lock:
            statuses = {job.status for job in self._state.jobs.values()}
            queues = {entry.queue for entry in self._state.outbox.values()}
        with_jobs = {stage for status, stage in _JOBS.items() if status in statuses}
        with_rows = {stage for queue, stage in _OUTBOX.items() if queue in queues}
        return frozenset(with_jobs | with_rows)
