"""How long to wait before another attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_LONGEST_OUTAGE_WAIT_S = 3600.0


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter.

    Attributes
    ----------
    max_retries
        Failed attempts after which a message goes to the DLQ, the first attempt not counted.
    max_deaths
        Processes that a message may end before it is given up.
    base_s, cap_s
        The delay before attempt n + 1 is uniform in [0, min(cap_s, base_s * 2 ** (n - 1))].

    Notes
    -----
    Source: Brooker (2015), Exponential Backoff And Jitter, AWS Architecture Blog, "full jitter".
    """

    max_retries: int = 3
    base_s: float = 1.0
    cap_s: float = 300.0
    max_deaths: int = 3

    def delay_s(
        self,
        attempt: int,
        *,
        retry_after_s: float | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> float:
        """Give the seconds to wait after failed attempt `attempt` (from 1).

        What the failing service asked for wins, up to the 12 hours that SQS can hide a message.

        Examples
        --------
        >>> RetryPolicy(base_s=1).delay_s(3, uniform=lambda low, high: high)
        4.0
        >>> RetryPolicy().delay_s(1, retry_after_s=90)
        90.0
        """
        if retry_after_s is not None:
            return float(min(max(retry_after_s, 0.0), 43_200.0))
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 32))
        return uniform(0.0, ceiling)

    def outage_delay_s(
        self, receives: int, *, uniform: Callable[[float, float], float] = random.uniform
    ) -> float:
        """Give the seconds to wait after receive `receives` (from 1) that met an outage.

        An outage spends no attempt but a receive, and a queue gives a message up after ten. So
        waits grow fast, and never come near zero: nine of them last an hour and a half at least
        (with the default `base_s`), and a message is late by some three times the outage at most.

        Examples
        --------
        >>> RetryPolicy().outage_delay_s(4, uniform=lambda low, high: low)
        32.0
        >>> RetryPolicy().outage_delay_s(10, uniform=lambda low, high: high)
        3600.0
        """
        ceiling = min(_LONGEST_OUTAGE_WAIT_S, self.base_s * 4.0 ** min(receives - 1, 16))
        return uniform(ceiling / 2, ceiling)

    def is_exhausted(self, attempts: int) -> bool:
        """Say whether that many failed attempts are all that a message gets."""
        return attempts > self.max_retries
