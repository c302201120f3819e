"""Port to the audit log."""

from __future__ import annotations

from typing import Protocol

from embedpipe.domain.audit import Act, AuditEntry
from embedpipe.ports.paging import Page


class Audits(Protocol):
    """What operators of all tenants did.

    An act on something in the database is written in the transaction that does it, by the port
    that does it.
    """

    def list(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        action: str | None = None,
        actor: str | None = None,
    ) -> Page[AuditEntry]:
        """List acts, newest first. Raises InvalidInputError (INVALID_CURSOR)."""
        ...

    def write(self, act: Act, result: str) -> None:
        """Write down an act outside the database, as the warm-up of a model is."""
        ...
