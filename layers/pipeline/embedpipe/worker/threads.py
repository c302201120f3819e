"""The threads of the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Thread


class Threads:
    """Named threads, none of which keeps the process from its end.

    Parameters
    ----------
    died
        Gets the name of a thread that raised, and what; or that came to its end when none may.
    may_end
        Whether a thread may come to its end now.
    """

    def __init__(
        self, died: Callable[[str, BaseException], None], may_end: Callable[[], bool]
    ) -> None:
        self._died = died
        self._may_end = may_end
        self._threads: dict[str, Thread] = {}

    @property
    def are_alive(self) -> bool:
        """Whether they were started, and none has ended."""
        threads = list(self._threads.values())
        return bool(threads) and all(thread.is_alive() for thread in threads)

    @property
    def is_any_alive(self) -> bool:
        """Whether one has not ended."""
        return any(thread.is_alive() for thread in self._threads.values())

    def start(self, loops: Mapping[str, Callable[[], None]]) -> None:
        """Run each loop in a thread."""
        for name, loop in loops.items():
            # A thread that hangs in the model must not keep the process from its end.
            self._threads[name] = Thread(
                target=self._run, args=(name, loop), name=name, daemon=True
            )
        for thread in self._threads.values():
            thread.start()

    def join(self, *prefixes: str, until: float) -> None:
        """Wait for the threads whose names begin so, until that time by `time.monotonic`."""
        for name, thread in self._threads.items():
            if name.startswith(prefixes):
                thread.join(max(until - time.monotonic(), 0.0))

    def _run(self, name: str, loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as error:  # noqa: BLE001
            self._died(name, error)
        else:
            # Without it the worker would hold messages, extend them, and never compute them.
            if not self._may_end():
                self._died(name, RuntimeError("a part of the worker came to its end by itself"))
