"""Says that the worker lives, for operators; nothing depends on it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from threading import Event

from embedpipe.ports import Heartbeats
from embedpipe.worker.context import Context
from embedpipe.worker.holdings import Holdings
from embedpipe.worker.outage import Outage

_STAGE = "embed"


class Presence:
    """Beats in a thread of its own: a database that is away holds up nothing else.

    Parameters
    ----------
    state
        Gives `running`, `paused` or `stopping`.
    """

    def __init__(
        self,
        heartbeats: Heartbeats | None,
        holdings: Holdings,
        outage: Outage,
        state: Callable[[], str],
        *,
        interval_s: float,
    ) -> None:
        self.worker_id = f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._heartbeats = heartbeats
        self._holdings = holdings
        self._outage = outage
        self._state = state
        self._interval_s = interval_s
        self._is_over = Event()
        self._wake = Event()

    @classmethod
    def of(cls, context: Context, state: Callable[[], str]) -> Presence:
        """Make the one of a worker."""
        return cls(
            context.ports.heartbeats,
            context.holdings,
            context.outages.heartbeat,
            state,
            interval_s=context.ports.settings.heartbeat_s,
        )

    def loops(self) -> dict[str, Callable[[], None]]:
        """Give what is to run; nothing where nobody listens."""
        return {} if self._heartbeats is None else {"presence": self.loop}

    def loop(self) -> None:
        """Beat until closed, then leave."""
        while not self._is_over.is_set():
            self._attempt(self._beat)
            self._wake.wait(self._interval_s)
            self._wake.clear()
        self._attempt(self._leave)

    def tell(self) -> None:
        """Beat now: the state has changed."""
        self._wake.set()

    def close(self) -> None:
        """End the loop."""
        self._is_over.set()
        self._wake.set()

    def _beat(self) -> None:
        if self._heartbeats is not None:
            self._heartbeats.beat(
                self.worker_id, _STAGE, self._state(), len(self._holdings), self._interval_s
            )

    def _leave(self) -> None:
        if self._heartbeats is not None:
            self._heartbeats.leave(self.worker_id)

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001
            self._outage.failed(error)
        else:
            self._outage.answered()
