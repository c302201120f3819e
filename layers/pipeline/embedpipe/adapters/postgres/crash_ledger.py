"""The crash ledger in PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from embedpipe.adapters.postgres.sessions import Sessions
from embedpipe.ports.crash_ledger import CrashKey
from embedpipe.sql import statement

#: A message that is no batch's; part of the key, so never NULL.
_NO_BATCH = -1


class PostgresCrashLedger:
    """`ports.CrashLedger` on PostgreSQL, one transaction for each tenant.

    A death that could not be taken back, as the database was away, is taken back with the next
    call: else three crashes of the database could pass for deaths by one message.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._owed: dict[CrashKey, None] = {}

    def begin(self, keys: Sequence[CrashKey]) -> dict[CrashKey, int]:
        """See `ports.CrashLedger.begin`."""
        self._take_back()
        deaths = dict.fromkeys(keys, 0)
        for tenant_id, of_tenant in _by_tenant(keys):
            with self._sessions.transaction(tenant_id) as connection:
                for key in of_tenant:
                    done = connection.execute(statement("crash_ledger", "begin"), _row(key))
                    if (row := done.fetchone()) is not None:
                        deaths[key] = row["deaths"]
        return deaths

    def end(self, keys: Sequence[CrashKey]) -> None:
        """See `ports.CrashLedger.end`."""
        self._owed |= dict.fromkeys(keys)
        self._take_back()

    def _take_back(self) -> None:
        for tenant_id, of_tenant in _by_tenant(list(self._owed)):
            with self._sessions.transaction(tenant_id) as connection:
                for key in of_tenant:
                    row = _row(key)
                    if not connection.execute(statement("crash_ledger", "forget"), row).rowcount:
                        connection.execute(statement("crash_ledger", "take_back"), row)
            for key in of_tenant:
                self._owed.pop(key, None)


def _by_tenant(keys: Sequence[CrashKey]) -> Iterator[tuple[str, list[CrashKey]]]:
    groups: defaultdict[str, list[CrashKey]] = defaultdict(list)
    # In one order, so that two who lock the same rows do not wait for each other.
    for key in sorted(set(keys), key=lambda one: tuple(_row(one).values())):
        groups[key.ref.tenant_id].append(key)
    yield from groups.items()


def _row(key: CrashKey) -> dict[str, Any]:
    return {
        "tenant_id": key.ref.tenant_id,
        "job_id": key.ref.job_id,
        "epoch": key.ref.epoch,
        "stage": key.stage,
        "batch_no": _NO_BATCH if key.batch_no is None else key.batch_no,
    }
