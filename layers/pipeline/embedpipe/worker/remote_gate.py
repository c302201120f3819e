"""The way to a provider: through its circuit breaker, and its outcome reported there."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import TypeVar
from uuid import uuid4

from embedpipe.domain.breakers import Permission
from embedpipe.errors import (
    CircuitOpenError,
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
    StoreUnavailableError,
    error_code,
)
from embedpipe.ports import Breakers

# A closed breaker costs one query per so many seconds, and a reset is noticed as soon.
_FRESH_S = 2.0
# So long the last known state stands for one that cannot be read.
_STALE_S = 30.0
# A database that did not answer is not asked again at once: each try may take seconds.
_AWAY_S = 10.0
# Nothing is reported of a request that no breaker allowed.
_UNKNOWN = Permission(is_allowed=True, term=-1)

T = TypeVar("T")


@dataclass(frozen=True)
class _Known:
    permission: Permission
    at: float

    def left_s(self, now: float) -> float:
        """Seconds until a refusal ends."""
        return self.permission.retry_after_s - (now - self.at)


class Gate:
    """Asks providers if their breakers allow. Threads may use it at the same time.

    While the database is away the last known state is kept for 30 s, then every breaker counts as
    closed: it is there to spare a provider that fails, and an outage of ours must not stop work
    with one that does not.

    Parameters
    ----------
    breakers
        Without them everything is allowed.
    seconds
        A monotonic clock.
    """

    def __init__(
        self,
        breakers: Breakers | None,
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._breakers = breakers
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._seconds = seconds
        self._known: dict[str, _Known] = {}
        self._failing_since: dict[str, float] = {}
        self._away_until = float("-inf")
        self._lock = Lock()

    def ask(self, provider: str, call: Callable[[], T]) -> T:
        """Ask a provider once; give what the call gives.

        Raises
        ------
        CircuitOpenError
            It is not to be asked now; `retry_after_s` says when again. Nothing was called.
        Exception
            Whatever the call raises.
        """
        permission = self._permission(provider)
        if not permission.is_allowed:
            raise CircuitOpenError(retry_after_s=permission.retry_after_s)
        try:
            result = call()
        except ProviderRejectedError:
            # It does answer: the fault is in what it was asked.
            self._answered(provider, permission)
            raise
        except BaseException as error:
            self._failed(provider, permission, error)
            raise
        self._answered(provider, permission)
        return result

    def open_s(self, provider: str) -> float:
        """Say how long the provider has been failing, as far as is known here."""
        now = self._seconds()
        return now - self._failing_since.get(provider, now)

    def _permission(self, provider: str) -> Permission:
        if self._breakers is None:
            return _UNKNOWN
        with self._lock:
            now = self._seconds()
            known = self._known.get(provider)
            if known is not None and now - known.at < min(_FRESH_S, _lasts_s(known.permission)):
                return _as_of(known, now)
            if now < self._away_until:
                return self._last_known(known, now)
            try:
                permission = self._breakers.allow(provider, self._owner)
            except StoreUnavailableError:
                now = self._seconds()
                self._away_until = now + _AWAY_S
                return self._last_known(known, now)
            now = self._seconds()
            if not permission.is_probe:
                self._known[provider] = _Known(permission, now)
            if permission.is_allowed and not permission.is_probe:
                self._failing_since.pop(provider, None)
            else:
                self._failing_since[provider] = now - permission.open_s
            return permission

    def _last_known(self, known: _Known | None, now: float) -> Permission:
        if known is None or now - known.at > _STALE_S:
            return _UNKNOWN
        if not known.permission.is_allowed and known.left_s(now) <= 0:
            return _UNKNOWN
        return _as_of(known, now)

    def _answered(self, provider: str, permission: Permission) -> None:
        if not permission.failures and not permission.is_probe:
            return
        if self._report(lambda breakers: breakers.succeeded(provider, permission.term), permission):
            with self._lock:
                known = self._known.get(provider)
                if permission.is_probe:
                    self._known.pop(provider, None)
                elif known is not None and known.permission == permission:
                    self._known[provider] = replace(
                        known, permission=replace(permission, failures=0)
                    )

    def _failed(self, provider: str, permission: Permission, error: BaseException) -> None:
        # An error of ours is no fault of the provider, but a probe has to end.
        if not isinstance(error, ProviderUnavailableError) and not permission.is_probe:
            return
        self._report(
            lambda breakers: breakers.failed(
                provider,
                permission.term,
                error_code(error),
                retry_after_s=getattr(error, "retry_after_s", None),
                opens=isinstance(error, ProviderRefusedError),
            ),
            permission,
        )
        with self._lock:
            self._known.pop(provider, None)

    def _report(self, call: Callable[[Breakers], None], permission: Permission) -> bool:
        if self._breakers is None or permission is _UNKNOWN:
            return False
        try:
            call(self._breakers)
        except StoreUnavailableError:
            with self._lock:
                self._away_until = self._seconds() + _AWAY_S
            return False
        return True


def _lasts_s(permission: Permission) -> float:
    return _FRESH_S if permission.is_allowed else permission.retry_after_s


def _as_of(known: _Known, now: float) -> Permission:
    if known.permission.is_allowed:
        return known.permission
    return replace(known.permission, retry_after_s=max(known.left_s(now), 0.0))
