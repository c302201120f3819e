"""Heartbeats of workers in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from embedpipe.adapters.memory.database_state import State
from embedpipe.ports.heartbeats import MISSED_BEATS, WorkerBeat, kept_s


class MemoryHeartbeats:
    """`ports.Heartbeats` on a dictionary."""

    def __init__(self, state: State) -> None:
        self._state = state

    def beat(
        self, worker_id: str, stage: str, state: str, in_flight: int, interval_s: float
    ) -> None:
        """See `ports.Heartbeats.beat`."""
        with self._state.lock:
            now, beats = self._state.now(), self._state.worker_heartbeats
            since = beats[worker_id].since if worker_id in beats else now
            beats[worker_id] = WorkerBeat(
                worker_id, stage, state, in_flight, interval_s, since, now, is_stalled=False
            )
            for old in list(beats.values()):
                if now - old.last_beat > timedelta(seconds=kept_s(old.interval_s)):
                    del beats[old.worker_id]

    def leave(self, worker_id: str) -> None:
        """See `ports.Heartbeats.leave`."""
        with self._state.lock:
            self._state.worker_heartbeats.pop(worker_id, None)

    def all(self) -> list[WorkerBeat]:
        """See `ports.Heartbeats.all`."""
        with self._state.lock:
            now = self._state.now()
            beats = [
                replace(
                    one,
                    is_stalled=now - one.last_beat
                    > timedelta(seconds=one.interval_s * MISSED_BEATS),
                )
                for one in self._state.worker_heartbeats.values()
            ]
        return sorted(beats, key=lambda one: (one.since, one.worker_id))
