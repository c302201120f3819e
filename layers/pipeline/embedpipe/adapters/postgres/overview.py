"""What is read across tenants, in PostgreSQL."""

from __future__ import annotations

from typing import Any

from embedpipe.adapters.cursors import decode_job_cursor, encode_job_cursor
from embedpipe.adapters.postgres.job_reading import job_of
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.controls import STAGES
from embedpipe.domain.jobs import JobStatus
from embedpipe.ports import Page
from embedpipe.ports.overview import (
    STAGE_OF,
    Counts,
    Figures,
    Idle,
    OpenWork,
    OperatorJob,
    Spread,
    View,
)
from embedpipe.sql import statement

#: The statement of a view, and the column that orders it.
_VIEWS = {
    View.RECENT: ("recent", "created_at"),
    View.FAILED: ("failed", "finished_at"),
    View.OPEN: ("unfinished", "touched_at"),
}


class PostgresOverview:
    """`ports.Overview` on PostgreSQL."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def open_work(self) -> OpenWork:
        """See `ports.Overview.open_work`."""
        with self._sessions.transaction(as_operator=True) as connection:
            connection.execute(statement("overview", "limit_time"))
            rows = connection.execute(statement("overview", "open")).fetchall()
            outbox = connection.execute(statement("overview", "outbox")).fetchone()
        statuses, ages_s = dict.fromkeys(STAGE_OF, 0), dict.fromkeys(STAGES, 0.0)
        for row in rows:
            status = JobStatus(row["status"])
            statuses[status] = row["jobs"]
            # Clocks go backwards now and then.
            ages_s[STAGE_OF[status]] = max(ages_s[STAGE_OF[status]], row["age_s"] or 0.0)
        assert outbox is not None
        return OpenWork(statuses, ages_s, outbox["rows"], max(outbox["age_s"], 0.0))

    def counts(self, window_s: float) -> dict[str, Counts]:
        """See `ports.Overview.counts`."""
        with self._sessions.transaction(as_operator=True) as connection:
            connection.execute(statement("overview", "limit_time"))
            return _counts(connection, {"window_s": window_s})

    def arrivals(self, window_s: float) -> dict[str, int]:
        """See `ports.Overview.arrivals`."""
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(
                statement("overview", "arrivals"), {"window_s": window_s}
            ).fetchall()
        return dict.fromkeys(STAGES, 0) | {row["stage"]: row["letters"] for row in rows}

    def figures(self, window_s: float) -> Figures:
        """See `ports.Overview.figures`."""
        parameters = {"window_s": window_s}
        with self._sessions.transaction(as_operator=True) as connection:
            counts = _counts(connection, parameters)
            row = connection.execute(statement("overview", "figures"), parameters).fetchone()
        assert row is not None
        return Figures(
            counts=counts,
            latency_s={stage: _spread(row[stage]) for stage in STAGES},
            job_latency_s=_spread(row["job"]),
            succeeded=row["succeeded"],
            failed=row["failed"],
            cancelled=row["cancelled"],
            tokens=row["tokens"],
            cost_usd=row["cost_usd"],
        )

    def jobs(
        self,
        view: View,
        *,
        tenant_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OperatorJob]:
        """See `ports.Overview.jobs`."""
        name, column = _VIEWS[view]
        return self._page(name, column, {"tenant_id": tenant_id}, limit, cursor)

    def stuck(
        self,
        idle: Idle,
        *,
        tenant_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[OperatorJob]:
        """See `ports.Overview.stuck`."""
        parameters = {
            "tenant_id": tenant_id,
            "idle_s": idle.idle_s,
            "statuses": [status.value for status in idle.statuses],
            "emptied": [status.value for status in idle.emptied],
        }
        return self._page("stuck", "touched_at", parameters, limit, cursor)

    def open_by_tenant(
        self, *, tenant_id: str | None = None, collection: str | None = None
    ) -> dict[str, int]:
        """See `ports.Overview.open_by_tenant`."""
        parameters = {"tenant_id": tenant_id, "collection": collection}
        with self._sessions.transaction(as_operator=True) as connection:
            rows = connection.execute(
                statement("overview", "open_by_tenant"), parameters
            ).fetchall()
        return {row["tenant_id"]: row["jobs"] for row in rows}

    def _page(
        self, name: str, column: str, parameters: dict[str, Any], limit: int, cursor: str | None
    ) -> Page[OperatorJob]:
        after, after_job = decode_job_cursor(cursor, name) if cursor else (None, None)
        parameters |= {"after": after, "after_job": after_job, "limit": limit + 1}
        with self._sessions.transaction(as_operator=True) as connection:
            connection.execute(statement("overview", "prefer_indexes"))
            rows = connection.execute(statement("overview", name), parameters).fetchall()
        items = [
            OperatorJob(job_of(row, {}), row["rescues"], row["touched_at"], row["traceparent"])
            for row in rows[:limit]
        ]
        if len(rows) <= limit or not items:
            return Page(items, None)
        last = rows[limit - 1]
        return Page(items, encode_job_cursor(last[column], str(last["job_id"]), name))


def _counts(connection: Connection, parameters: dict[str, Any]) -> dict[str, Counts]:
    processed = connection.execute(statement("overview", "counts"), parameters).fetchone()
    rows = connection.execute(statement("overview", "failures"), parameters).fetchall()
    failed = {row["stage"]: row["jobs"] for row in rows}
    assert processed is not None
    return {stage: Counts(processed[stage], failed.get(stage, 0)) for stage in STAGES}


def _spread(percentiles: list[float] | None) -> Spread:
    return Spread(*percentiles) if percentiles else Spread()
