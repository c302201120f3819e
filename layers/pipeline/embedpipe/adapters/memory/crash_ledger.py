"""The crash ledger in memory."""

from __future__ import annotations

from collections.abc import Sequence

from embedpipe.adapters.memory.database_rows import CrashRow
from embedpipe.adapters.memory.database_state import State
from embedpipe.ports.crash_ledger import CrashKey


class MemoryCrashLedger:
    """`ports.CrashLedger` on a dictionary."""

    def __init__(self, state: State) -> None:
        self._state = state

    def begin(self, keys: Sequence[CrashKey]) -> dict[CrashKey, int]:
        """See `ports.CrashLedger.begin`."""
        with self._state.lock:
            return {key: self._begin(key) for key in keys}

    def end(self, keys: Sequence[CrashKey]) -> None:
        """See `ports.CrashLedger.end`."""
        with self._state.lock:
            for key in set(keys):
                if (row := self._state.crash_ledger.get(key)) is not None:
                    row.deaths -= 1
                    if row.deaths <= 0:
                        del self._state.crash_ledger[key]

    def _begin(self, key: CrashKey) -> int:
        ref = key.ref
        if (ref.tenant_id, ref.job_id) not in self._state.jobs:
            return 0
        new = CrashRow(ref.tenant_id, ref.job_id, ref.epoch, key.stage, key.batch_no, 0)
        row = self._state.crash_ledger.setdefault(key, new)
        row.deaths += 1
        return row.deaths - 1
