"""Circuit breakers: when a provider is asked no more, and when it is asked again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

_LONGEST_RECOVERY_S = 600.0
# What a provider may ask for: the 12 hours that SQS can hide a message.
_LONGEST_RETRY_AFTER_S = 43_200.0


class BreakerState(StrEnum):
    """What becomes of a request to the provider."""

    #: It is asked.
    CLOSED = "closed"
    #: It is not asked before the retry time.
    OPEN = "open"
    #: One request is under way, to find out.
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class Breaker:
    """A provider's circuit breaker, as it was at one moment.

    Attributes
    ----------
    failures
        Failed requests since the last good one.
    opened_at
        Since when the provider has been failing; None while closed.
    retry_at
        When one request may find out whether it is back; None while closed.
    last_error
        Stable code of the last failure, empty when there was none.
    changed_at
        When its state changed last; None when the provider never failed.
    term
        Grows with every change of state.
    """

    provider: str
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    last_error: str = ""
    changed_at: datetime | None = None
    term: int = 0


@dataclass(frozen=True)
class Permission:
    """Whether a provider may be asked now.

    Attributes
    ----------
    term
        What the outcome of the request is reported with: it counts only while this is current.
    retry_after_s
        When not allowed, the seconds after which to ask for permission again.
    open_s
        How long the provider has been failing; 0 while closed.
    failures
        Failed requests since the last good one.
    """

    is_allowed: bool
    term: int
    is_probe: bool = False
    retry_after_s: float = 0.0
    open_s: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class BreakerRules:
    """When a breaker opens, and for how long.

    Attributes
    ----------
    failure_threshold
        Failed requests in a row that open it.
    recovery_s
        How long it stays open at first; doubled with every probe that fails, up to ten minutes.
    probe_s
        After so long without an answer somebody else may probe; longer than a request may take.
    glance_s
        How often to look whether a probe of somebody else is over.
    """

    failure_threshold: int = 5
    recovery_s: float = 30.0
    probe_s: float = 120.0
    glance_s: float = 1.0

    def wait_s(self, state: BreakerState, left_s: float) -> float:
        """Say when to ask for permission again: a probe ends long before its time is over."""
        longest_s = self.glance_s if state is BreakerState.HALF_OPEN else left_s
        return max(min(left_s, longest_s), 0.0)

    def failures_after(self, failures: int, *, opens: bool) -> int:
        """Count one more failure; one that `opens` counts as many as it takes."""
        return max(failures + 1, self.failure_threshold if opens else 0)

    def open_s(
        self, failures: int, state: BreakerState, *, retry_after_s: float | None = None
    ) -> float | None:
        """Say for how long a breaker opens after that many failures, None when it does not.

        Below the threshold only what the provider asks for opens it, for just so long: a limit of
        requests per second must not cost half a minute.

        Examples
        --------
        >>> rules = BreakerRules(failure_threshold=5, recovery_s=30)
        >>> rules.open_s(4, BreakerState.CLOSED)
        >>> rules.open_s(5, BreakerState.CLOSED), rules.open_s(6, BreakerState.HALF_OPEN)
        (30.0, 60.0)
        >>> rules.open_s(1, BreakerState.CLOSED, retry_after_s=2)
        2.0
        >>> rules.open_s(5, BreakerState.CLOSED, retry_after_s=90)
        90.0
        """
        asked_s = float(min(max(retry_after_s or 0.0, 0.0), _LONGEST_RETRY_AFTER_S))
        beyond = failures - self.failure_threshold
        if beyond >= 0:
            longest_s = max(_LONGEST_RECOVERY_S, self.recovery_s)
            return max(min(self.recovery_s * 2.0 ** min(beyond, 16), longest_s), asked_s)
        if asked_s:
            return asked_s
        return None if state is BreakerState.CLOSED else float(self.recovery_s)
