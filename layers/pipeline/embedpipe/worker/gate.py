"""Whether the worker may receive: an operator's word, read every other second."""

from __future__ import annotations

from threading import Event

from embedpipe.stages.controls import KEPT_S, ControlReader
from embedpipe.worker.outage import Outage

_STAGE = "embed"


class Gate:
    """Shut while the stage is paused. Without a reader it is always open.

    Shut, too, until the state is known for the first time: without the database nothing that is
    received could be worked on. After that the last known state holds.
    """

    def __init__(self, reader: ControlReader | None, outage: Outage, stop: Event) -> None:
        self._reader = reader
        self._outage = outage
        self._stop = stop
        self._is_open = Event()
        if reader is None:
            self._is_open.set()

    @property
    def is_open(self) -> bool:
        """Whether anything may be received."""
        return self._is_open.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until something may be received; give whether it may."""
        return self._is_open.wait(timeout_s)

    def loop(self) -> None:
        """Look until the worker stops."""
        while True:
            self.look()
            if self._stop.wait(KEPT_S):
                return

    def look(self) -> None:
        """Read the state once; keep the last one when it cannot be read."""
        if self._reader is None:
            return
        try:
            self._reader.refresh()
        except Exception as error:  # noqa: BLE001
            self._outage.failed(error)
            return
        self._outage.answered()
        if self._reader.is_paused(_STAGE):
            self._is_open.clear()
        else:
            self._is_open.set()
