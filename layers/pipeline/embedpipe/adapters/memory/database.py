"""The in-memory database: every database port, atomic under one lock."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from embedpipe.adapters.memory.audit import MemoryAudits
from embedpipe.adapters.memory.breakers import MemoryBreakers
from embedpipe.adapters.memory.controls import MemoryControls
from embedpipe.adapters.memory.crash_ledger import MemoryCrashLedger
from embedpipe.adapters.memory.database_catalogue import MemoryApiKeys, MemoryCollections
from embedpipe.adapters.memory.database_documents import MemoryDocuments
from embedpipe.adapters.memory.database_jobs import MemoryJobs
from embedpipe.adapters.memory.database_rescues import MemoryRescues
from embedpipe.adapters.memory.database_rows import KeyRow
from embedpipe.adapters.memory.database_search import MemoryVectors
from embedpipe.adapters.memory.database_state import State, utc_now
from embedpipe.adapters.memory.dlq_entries import MemoryDlqEntries
from embedpipe.adapters.memory.heartbeats import MemoryHeartbeats
from embedpipe.adapters.memory.housekeeping import MemoryHousekeeping
from embedpipe.adapters.memory.overview import MemoryOverview
from embedpipe.adapters.memory.redrives import MemoryRedrives
from embedpipe.adapters.memory.requeues import MemoryRequeues
from embedpipe.adapters.memory.skips import MemorySkips
from embedpipe.domain.breakers import BreakerRules
from embedpipe.errors import NotFoundError
from embedpipe.ports import ModelInfo, OutboxRow


class MemoryOutboxRows:
    """`ports.OutboxRows` on a dictionary."""

    def __init__(self, state: State) -> None:
        self._state = state

    def sent(self, rows: Sequence[OutboxRow]) -> None:
        """See `ports.OutboxRows.sent`."""
        with self._state.lock:
            for row in rows:
                self._state.outbox.pop((row.tenant_id, row.queue, row.key), None)

    def claim(self, limit: int = 100, claim_s: int = 30) -> list[OutboxRow]:
        """See `ports.OutboxRows.claim`."""
        with self._state.lock:
            now = self._state.now()
            due = [entry for entry in self._state.outbox.values() if entry.claimed_until <= now]
            due.sort(key=lambda entry: entry.claimed_until)
            for entry in due[:limit]:
                entry.claimed_until = now + timedelta(seconds=claim_s)
            return [
                OutboxRow(entry.tenant_id, entry.queue, entry.message_key, entry.body)
                for entry in due[:limit]
            ]


class MemoryDatabase:
    """`ports.Database` without a server.

    Parameters
    ----------
    clock
        The database clock; a test moves it to let claims expire.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = utc_now,
        breaker_rules: BreakerRules | None = None,
    ) -> None:
        self._state = State(clock)
        self.jobs = MemoryJobs(self._state)
        self.outbox = MemoryOutboxRows(self._state)
        self.collections = MemoryCollections(self._state)
        self.documents = MemoryDocuments(self._state)
        self.vectors = MemoryVectors(self._state)
        self.api_keys = MemoryApiKeys(self._state)
        self.rescues = MemoryRescues(self._state)
        self.dlq_entries = MemoryDlqEntries(self._state)
        self.requeues = MemoryRequeues(self._state)
        self.redrives = MemoryRedrives(self._state)
        self.breakers = MemoryBreakers(self._state, breaker_rules)
        self.crash_ledger = MemoryCrashLedger(self._state)
        self.audits = MemoryAudits(self._state)
        self.overview = MemoryOverview(self._state)
        self.skips = MemorySkips(self._state)
        self.controls = MemoryControls(self._state)
        self.heartbeats = MemoryHeartbeats(self._state)
        self.housekeeping = MemoryHousekeeping(self._state)

    def create_tenant(self, tenant_id: str, model: ModelInfo) -> None:
        """Make a tenant and its collection `default`; nothing when it exists."""
        with self._state.lock:
            self._state.tenants.setdefault(tenant_id, "free")
            if (tenant_id, "default") not in self._state.collections:
                self.collections.create(tenant_id, "default", model, "")

    def create_key(self, tenant_id: str, role: str = "user") -> str:
        """Make an API key and give it, this once. Raises NotFoundError (TENANT_NOT_FOUND)."""
        key_id = secrets.token_hex(8)
        key = f"ep_{key_id}_{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(key.encode()).digest()
        with self._state.lock:
            if tenant_id not in self._state.tenants:
                raise NotFoundError("there is no such tenant", code="TENANT_NOT_FOUND")
            row = KeyRow(tenant_id, key_id, digest, role, self._state.now())
            self._state.api_keys[key_id] = row
        return key

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Give copies of all rows of a table, for tests to look at."""
        with self._state.lock:
            found: list[dict[str, Any]] = []
            for value in getattr(self._state, table).values():
                of_version = value.values() if isinstance(value, dict) else [value]
                found += [asdict(row) for row in of_version]
            return found

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
