"""Circuit breakers in PostgreSQL."""

from __future__ import annotations

from typing import Any

from embedpipe.adapters.postgres.audit import write_down
from embedpipe.adapters.postgres.sessions import Connection, Sessions
from embedpipe.domain.audit import Act
from embedpipe.domain.breakers import Breaker, BreakerRules, BreakerState, Permission
from embedpipe.sql import statement


class PostgresBreakers:
    """`ports.Breakers` on PostgreSQL, by the clock of the server."""

    def __init__(self, sessions: Sessions, rules: BreakerRules | None = None) -> None:
        self._sessions = sessions
        self._rules = rules or BreakerRules()

    def all(self) -> list[Breaker]:
        """See `ports.Breakers.all`."""
        with self._sessions.transaction() as connection:
            rows = connection.execute(statement("breakers", "all")).fetchall()
        return [_breaker(row) for row in rows]

    def get(self, provider: str) -> Breaker:
        """See `ports.Breakers.get`."""
        if "\0" in provider:
            return Breaker(provider)
        with self._sessions.transaction() as connection:
            row = connection.execute(
                statement("breakers", "get"), {"provider": provider}
            ).fetchone()
        return Breaker(provider) if row is None else _breaker(row)

    def allow(self, provider: str, owner: str) -> Permission:
        """See `ports.Breakers.allow`."""
        with self._sessions.transaction() as connection:
            row = connection.execute(
                statement("breakers", "read"), {"provider": provider}
            ).fetchone()
            if row is None:
                return Permission(is_allowed=True, term=0)
            if row["state"] == BreakerState.CLOSED:
                return Permission(is_allowed=True, term=row["term"], failures=row["failures"])
            if row["wait_s"] <= 0:
                term = self._probe(connection, provider, owner, row["term"])
                if term is not None:
                    return _answer(row, term=term)
            wait_s = self._rules.wait_s(BreakerState(row["state"]), row["wait_s"])
            # At zero, another has just become the prober.
            return _answer(row, retry_after_s=wait_s or self._rules.glance_s)

    def succeeded(self, provider: str, term: int) -> None:
        """See `ports.Breakers.succeeded`."""
        parameters = {"provider": provider, "term": term}
        with self._sessions.transaction() as connection:
            connection.execute(statement("breakers", "succeed"), parameters)

    def failed(
        self,
        provider: str,
        term: int,
        error_code: str,
        *,
        retry_after_s: float | None = None,
        opens: bool = False,
    ) -> None:
        """See `ports.Breakers.failed`."""
        parameters: dict[str, object] = {
            "provider": provider,
            "term": term,
            "error_code": error_code,
        }
        with self._sessions.transaction() as connection:
            connection.execute(statement("breakers", "add"), parameters)
            row = connection.execute(statement("breakers", "lock"), parameters).fetchone()
            if row is None:
                return
            failures = self._rules.failures_after(row["failures"], opens=opens)
            open_s = self._rules.open_s(
                failures, BreakerState(row["state"]), retry_after_s=retry_after_s
            )
            name = "count_failure" if open_s is None else "open"
            parameters |= {"failures": failures, "open_s": open_s}
            connection.execute(statement("breakers", name), parameters)

    def reset(self, provider: str, act: Act) -> bool:
        """See `ports.Breakers.reset`."""
        if "\0" in provider:
            return False
        key = {"provider": provider}
        with self._sessions.transaction(as_operator=True) as connection:
            seen = connection.execute(statement("breakers", "lock_any"), key).fetchone()
            if seen is None:
                return False
            connection.execute(statement("breakers", "reset"), key)
            write_down(connection, act, f"closed, was {seen['state']}")
            return True

    def _probe(self, connection: Connection, provider: str, owner: str, term: int) -> int | None:
        parameters = {
            "provider": provider,
            "owner": owner,
            "term": term,
            "probe_s": self._rules.probe_s,
        }
        row = connection.execute(statement("breakers", "probe"), parameters).fetchone()
        return None if row is None else int(row["term"])


def _breaker(row: dict[str, Any]) -> Breaker:
    return Breaker(**{**row, "state": BreakerState(row["state"])})


def _answer(
    row: dict[str, Any], *, term: int | None = None, retry_after_s: float = 0.0
) -> Permission:
    """Answer who asked while it was not closed; `term` is that of the probe, if it is one."""
    return Permission(
        is_allowed=term is not None,
        term=row["term"] if term is None else term,
        is_probe=term is not None,
        retry_after_s=retry_after_s,
        open_s=row["open_s"],
        failures=row["failures"],
    )
