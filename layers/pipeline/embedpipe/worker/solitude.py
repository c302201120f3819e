"""Work that goes side by side, and work that nothing else goes beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Solitude:
    """Holds back what comes while somebody is, or wants to be, alone."""

    def __init__(self) -> None:
        self._together = 0
        self._wanting = 0
        self._is_taken = False
        self._changed = Condition()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Work beside others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanting)
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work when nobody else does; who comes meanwhile waits."""
        with self._changed:
            self._wanting += 1
            self._changed.wait_for(lambda: not self._together and not self._is_taken)
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._wanting -= 1
                self._is_taken = False
                self._changed.notify_all()
