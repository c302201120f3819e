"""Processes that stand still, as a host that hangs does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

FREEZE_EVERY_S = 0.05


class Freezer:
    """Freezes all processes of a stage, and those that are started instead of them.

    Lambda ends what exceeds its timeout, and starts another environment: that stands still, too.

    Parameters
    ----------
    pids
        Gives the processes of each stage that run now.
    """

    def __init__(self, pids: Callable[[], Mapping[str, list[int]]]) -> None:
        self._pids = pids
        self._frozen: set[str] = set()
        # Else the thread would freeze again what was thawed while it looked.
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep_frozen, name="freezer", daemon=True)

    def start(self) -> None:
        """Begin to look for processes that are started."""
        self._thread.start()

    def stop(self) -> None:
        """Freeze nothing more, and thaw what is frozen, so that it can be ended."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._frozen:
            self.thaw(*self._frozen)

    def freeze(self, *stages: str) -> None:
        """Let processes of stages stand still until they are thawed."""
        with self._lock:
            self._frozen.update(stages)
            self._signal(signal.SIGSTOP, *stages)

    def thaw(self, *stages: str) -> None:
        """Let them go on."""
        with self._lock:
            self._frozen.difference_update(stages)
            self._signal(signal.SIGCONT, *stages)

    def _keep_frozen(self) -> None:
        while not self._is_over.wait(FREEZE_EVERY_S):
            with self._lock:
                self._signal(signal.SIGSTOP, *self._frozen)

    def _signal(self, number: signal.Signals, *stages: str) -> None:
        by_stage = self._pids()
        for pid in [pid for stage in stages for pid in by_stage[stage]]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
