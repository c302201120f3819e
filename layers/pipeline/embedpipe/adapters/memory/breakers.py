"""Circuit breakers in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from embedpipe.adapters.memory.audit import write_down
from embedpipe.adapters.memory.database_state import State
from embedpipe.domain.audit import Act
from embedpipe.domain.breakers import Breaker, BreakerRules, BreakerState, Permission


class MemoryBreakers:
    """`ports.Breakers` on a dictionary."""

    def __init__(self, state: State, rules: BreakerRules | None = None) -> None:
        self._state = state
        self._rules = rules or BreakerRules()

    def all(self) -> list[Breaker]:
        """See `ports.Breakers.all`."""
        with self._state.lock:
            return sorted(self._state.breakers.values(), key=lambda one: one.provider)

    def get(self, provider: str) -> Breaker:
        """See `ports.Breakers.get`."""
        with self._state.lock:
            return self._state.breakers.get(provider, Breaker(provider))

    def allow(self, provider: str, owner: str) -> Permission:
        """See `ports.Breakers.allow`."""
        with self._state.lock:
            seen = self.get(provider)
            if seen.state is BreakerState.CLOSED or seen.opened_at is None:
                return Permission(is_allowed=True, term=seen.term, failures=seen.failures)
            now = self._state.now()
            until = seen.retry_at
            if seen.state is BreakerState.HALF_OPEN:
                _, until = self._state.probers[provider]
            wait_s = (until - now).total_seconds() if until else 0.0
            is_probe = wait_s <= 0
            if is_probe:
                probe_until = now + timedelta(seconds=self._rules.probe_s)
                self._state.probers[provider] = owner, probe_until
                self._change(seen, state=BreakerState.HALF_OPEN)
            return Permission(
                is_allowed=is_probe,
                term=seen.term + is_probe,
                is_probe=is_probe,
                retry_after_s=0.0 if is_probe else self._rules.wait_s(seen.state, wait_s),
                open_s=(now - seen.opened_at).total_seconds(),
                failures=seen.failures,
            )

    def succeeded(self, provider: str, term: int) -> None:
        """See `ports.Breakers.succeeded`."""
        with self._state.lock:
            seen = self.get(provider)
            if seen.term != term:
                return
            if seen.state is BreakerState.HALF_OPEN:
                self._close(seen)
            elif seen.state is BreakerState.CLOSED and seen.failures:
                self._state.breakers[provider] = replace(seen, failures=0)

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
        with self._state.lock:
            now = self._state.now()
            seen = self._state.breakers.setdefault(provider, Breaker(provider, changed_at=now))
            if seen.term != term or seen.state is BreakerState.OPEN:
                return
            failures = self._rules.failures_after(seen.failures, opens=opens)
            open_s = self._rules.open_s(failures, seen.state, retry_after_s=retry_after_s)
            counted = replace(seen, failures=failures, last_error=error_code)
            if open_s is None:
                self._state.breakers[provider] = counted
                return
            counted = replace(
                counted,
                opened_at=seen.opened_at or now,
                retry_at=now + timedelta(seconds=open_s),
            )
            self._change(counted, state=BreakerState.OPEN)

    def reset(self, provider: str, act: Act) -> bool:
        """See `ports.Breakers.reset`."""
        with self._state.lock:
            seen = self._state.breakers.get(provider)
            if seen is not None:
                self._close(seen)
                write_down(self._state, act, f"closed, was {seen.state.value}")
            return seen is not None

    def _close(self, seen: Breaker) -> None:
        closed = replace(seen, failures=0, opened_at=None, retry_at=None)
        self._change(closed, state=BreakerState.CLOSED)

    def _change(self, breaker: Breaker, *, state: BreakerState) -> None:
        self._state.breakers[breaker.provider] = replace(
            breaker, state=state, term=breaker.term + 1, changed_at=self._state.now()
        )
