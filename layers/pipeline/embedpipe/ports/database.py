"""The port to the database: every other that it stands behind."""

from __future__ import annotations

from typing import Protocol

from embedpipe.ports.audits import Audits
from embedpipe.ports.breakers import Breakers
from embedpipe.ports.catalogue import ApiKeys, Collections, Documents, Vectors
from embedpipe.ports.controls import Controls
from embedpipe.ports.crash_ledger import CrashLedger
from embedpipe.ports.dlq_entries import DlqEntries
from embedpipe.ports.heartbeats import Heartbeats
from embedpipe.ports.housekeeping import Housekeeping
from embedpipe.ports.jobs import Jobs, OutboxRows
from embedpipe.ports.overview import Overview
from embedpipe.ports.redrives import Redrives
from embedpipe.ports.requeues import Requeues
from embedpipe.ports.rescues import Rescues
from embedpipe.ports.skips import Skips


class Database(Protocol):
    """All database ports in one hand."""

    @property
    def jobs(self) -> Jobs:
        """Jobs."""
        ...

    @property
    def outbox(self) -> OutboxRows:
        """Outbox rows."""
        ...

    @property
    def collections(self) -> Collections:
        """Collections."""
        ...

    @property
    def documents(self) -> Documents:
        """Documents."""
        ...

    @property
    def vectors(self) -> Vectors:
        """Search."""
        ...

    @property
    def api_keys(self) -> ApiKeys:
        """API keys."""
        ...

    @property
    def dlq_entries(self) -> DlqEntries:
        """The mirror of the dead-letter queues."""
        ...

    @property
    def requeues(self) -> Requeues:
        """Dead letters that go back."""
        ...

    @property
    def redrives(self) -> Redrives:
        """Dead-letter queues that go back as a whole."""
        ...

    @property
    def rescues(self) -> Rescues:
        """Jobs that stopped moving."""
        ...

    @property
    def housekeeping(self) -> Housekeeping:
        """Compaction and retention."""
        ...

    @property
    def breakers(self) -> Breakers:
        """Circuit breakers of providers."""
        ...

    @property
    def controls(self) -> Controls:
        """What each stage is let do."""
        ...

    @property
    def heartbeats(self) -> Heartbeats:
        """Workers that live."""
        ...

    @property
    def crash_ledger(self) -> CrashLedger:
        """Processes that died, by what they worked on."""
        ...

    @property
    def audits(self) -> Audits:
        """What operators did."""
        ...

    @property
    def overview(self) -> Overview:
        """The control plane of all tenants."""
        ...

    @property
    def skips(self) -> Skips:
        """Jobs that operators took out."""
        ...
