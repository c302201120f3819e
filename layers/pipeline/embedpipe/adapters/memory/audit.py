"""The audit log in memory."""

from __future__ import annotations

from embedpipe.adapters.cursors import decode_audit_cursor, encode_audit_cursor
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import MAX_NOTE, Act, AuditEntry
from embedpipe.ports import Page


def write_down(state: State, act: Act, result: str) -> None:
    """Write an act down; the caller holds the lock."""
    entry = AuditEntry(
        audit_id=state.audit[-1].audit_id + 1 if state.audit else 1,
        tenant_id=act.actor.tenant_id,
        actor=act.actor.name,
        action=act.action,
        subject=act.subject,
        result=result,
        note=act.note[:MAX_NOTE],
        at=state.now(),
    )
    state.audit.append(entry)


class MemoryAudits:
    """`ports.Audits` on a list."""

    def __init__(self, state: State) -> None:
        self._state = state

    def list(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        action: str | None = None,
        actor: str | None = None,
    ) -> Page[AuditEntry]:
        """See `ports.Audits.list`."""
        before = decode_audit_cursor(cursor) if cursor else None
        with self._state.lock:
            found = [
                entry
                for entry in reversed(self._state.audit)
                if (before is None or entry.audit_id < before)
                and action in (None, entry.action)
                and actor in (None, entry.actor)
            ]
        items = found[:limit]
        more = len(found) > limit and items
        return Page(items, encode_audit_cursor(items[-1].audit_id) if more else None)

    def write(self, act: Act, result: str) -> None:
        """See `ports.Audits.write`."""
        with self._state.lock:
            write_down(self._state, act, result)
