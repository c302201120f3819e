"""PostgreSQL with pgvector: every database port."""

from __future__ import annotations

from embedpipe.adapters.postgres.api_keys import PostgresApiKeys
from embedpipe.adapters.postgres.audit import PostgresAudits
from embedpipe.adapters.postgres.breakers import PostgresBreakers
from embedpipe.adapters.postgres.collections import PostgresCollections
from embedpipe.adapters.postgres.controls import PostgresControls
from embedpipe.adapters.postgres.crash_ledger import PostgresCrashLedger
from embedpipe.adapters.postgres.dlq_entries import PostgresDlqEntries
from embedpipe.adapters.postgres.documents import PostgresDocuments
from embedpipe.adapters.postgres.heartbeats import PostgresHeartbeats
from embedpipe.adapters.postgres.housekeeping import PostgresHousekeeping
from embedpipe.adapters.postgres.jobs import PostgresJobs
from embedpipe.adapters.postgres.outbox import PostgresOutboxRows
from embedpipe.adapters.postgres.overview import PostgresOverview
from embedpipe.adapters.postgres.redrives import PostgresRedrives
from embedpipe.adapters.postgres.requeues import PostgresRequeues
from embedpipe.adapters.postgres.rescues import PostgresRescues
from embedpipe.adapters.postgres.sessions import Conninfo, Sessions
from embedpipe.adapters.postgres.skips import PostgresSkips
from embedpipe.adapters.postgres.tenants import PostgresTenants
from embedpipe.adapters.postgres.vectors import PostgresVectors
from embedpipe.domain.breakers import BreakerRules


class PostgresDatabase:
    """`ports.Database` on PostgreSQL, and `tenants` for whoever administers it.

    Connects on first use. The role in `conninfo` decides what it may: `embedpipe_app` for the
    functions, `embedpipe_maintenance` for `outbox.claim`, `rescues` and `tenants`.

    Parameters
    ----------
    conninfo
        A libpq connection string or URL, or what gives one, for each connection anew.
    min_size, max_size
        Connections that are kept, and that there are at most.
    startup_options
        Whether connections ask the server for their timeouts, which some proxies refuse.
    ef_search
        How many candidates an HNSW index keeps while it searches, 1 to 1,000.
    breaker_rules
        When circuit breakers open; only who asks providers needs to say.
    """

    def __init__(
        self,
        conninfo: Conninfo,
        *,
        min_size: int = 1,
        max_size: int = 5,
        startup_options: bool = True,
        ef_search: int = 64,
        breaker_rules: BreakerRules | None = None,
    ) -> None:
        self._sessions = Sessions(
            conninfo, min_size=min_size, max_size=max_size, startup_options=startup_options
        )
        self.jobs = PostgresJobs(self._sessions)
        self.outbox = PostgresOutboxRows(self._sessions)
        self.collections = PostgresCollections(self._sessions)
        self.documents = PostgresDocuments(self._sessions)
        self.vectors = PostgresVectors(self._sessions, ef_search=ef_search)
        self.api_keys = PostgresApiKeys(self._sessions)
        self.rescues = PostgresRescues(self._sessions)
        self.dlq_entries = PostgresDlqEntries(self._sessions)
        self.requeues = PostgresRequeues(self._sessions)
        self.redrives = PostgresRedrives(self._sessions)
        self.breakers = PostgresBreakers(self._sessions, breaker_rules)
        self.crash_ledger = PostgresCrashLedger(self._sessions)
        self.audits = PostgresAudits(self._sessions)
        self.overview = PostgresOverview(self._sessions)
        self.skips = PostgresSkips(self._sessions)
        self.controls = PostgresControls(self._sessions)
        self.heartbeats = PostgresHeartbeats(self._sessions)
        self.housekeeping = PostgresHousekeeping(self._sessions)
        self.tenants = PostgresTenants(self._sessions)

    def close(self) -> None:
        """Close all connections; later calls raise StoreUnavailableError."""
        self._sessions.close()
