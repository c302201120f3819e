"""When a provider wants to be asked again."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

#: A longer wait is not believed: the circuit breaker asks again before.
MOST_S = 3600.0

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
# What is left, and when there will be more of it.
_LIMITS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimitbysize-remaining", "ratelimitbysize-reset"),
)


def retry_after_s(
    headers: Mapping[str, str], body: Any, *, now: float | None = None
) -> float | None:
    """Give the seconds to wait, None where the answer does not say.

    Parameters
    ----------
    headers
        Of the answer, whatever their case.
    body
        Its JSON, or None.
    now
        Seconds since 1970, to which dates are compared.

    Notes
    -----
    `Retry-After` as in RFC 9110, section 10.2.3: seconds or a date. `retry-after-ms` and
    `x-ratelimit-reset-*` (`6m0s`) are OpenAI's, `retryDelay` in the body is Google's
    (google.rpc.RetryInfo).
    """
    found = {name.lower(): value.strip() for name, value in headers.items()}
    at = time.time() if now is None else now
    for seconds in (
        _number(found.get("retry-after-ms", ""), 0.001),
        _retry_after(found.get("retry-after", ""), at),
        _retry_delay(body),
        _reset(found, at),
    ):
        if seconds is not None:
            return min(max(seconds, 0.0), MOST_S)
    return None


def _number(text: str, unit: float = 1.0) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number * unit if isfinite(number) else None


def _retry_after(text: str, now: float) -> float | None:
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """Give when all that is used up is there again; what is not used up does not matter."""
    waits = []
    for remaining, reset in _LIMITS:
        left = _number(headers.get(remaining, ""))
        wait = _duration(headers.get(reset, ""), now)
        if wait is not None and (left is None or left <= 0):
            waits.append(wait)
    return max(waits, default=None)


def _duration(text: str, now: float) -> float | None:
    if (seconds := _number(text)) is not None:
        # Some services give the moment and not the time until then.
        return seconds - now if seconds > now / 2 else seconds
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _retry_delay(body: Any) -> float | None:
    try:
        details = body["error"]["details"]
        delays = [one["retryDelay"] for one in details if "retryDelay" in one]
        return _duration(delays[0], 0.0)
    except (TypeError, KeyError, IndexError):
        return None
