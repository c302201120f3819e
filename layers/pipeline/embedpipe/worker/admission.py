"""What the endpoint takes on at once: so much memory, and no more work than there is time for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from embedpipe.errors import EmbedderUnavailableError, TooLargeError

# What a byte of JSON takes once it is text and tokens, about: an id of six digits and a comma
# becomes a number of 32 bytes and a pointer to it.
BYTES_PER_BODY_BYTE = 8
# A vector's number is held as float32, as base64 and once more as the answer's body.
BYTES_PER_NUMBER = 16


class Memory:
    """What all requests in hand may hold, about. Threads may call it at the same time."""

    def __init__(self, limit_bytes: int = 256 * 1024 * 1024) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._lock = Lock()

    def take(self, size_bytes: int) -> None:
        """Reserve. Raises EmbedderUnavailableError (OVERLOADED) when others hold too much."""
        with self._lock:
            if self._held_bytes + size_bytes > self._limit_bytes:
                raise overloaded("too many inputs are in work at once", retry_after_s=1.0)
            self._held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Free what was taken."""
        with self._lock:
            self._held_bytes -= size_bytes

    @contextmanager
    def for_answer(self, inputs: int, dimensions: int) -> Iterator[None]:
        """Hold what the vectors take.

        Raises
        ------
        TooLargeError
            They would never fit.
        """
        size_bytes = inputs * dimensions * BYTES_PER_NUMBER
        if size_bytes > self._limit_bytes // 2:
            raise TooLargeError(f"the vectors of {inputs} inputs are too many for one answer")
        self.take(size_bytes)
        try:
            yield
        finally:
            self.give_back(size_bytes)


class Queue:
    """How long the synchronous work in hand will take."""

    def __init__(self) -> None:
        self._waiting_s = 0.0
        self._lock = Lock()

    @contextmanager
    def waiting(self, tokens: int, tokens_per_s: float, left_s: float) -> Iterator[None]:
        """Wait in it with so many tokens; where the speed is not known, nobody is sent away.

        Raises
        ------
        EmbedderUnavailableError
            OVERLOADED: the time that is left cannot suffice.
        """
        own_s = tokens / tokens_per_s if tokens_per_s > 0 else 0.0
        with self._lock:
            if own_s > left_s:
                raise overloaded(
                    f"this takes {math.ceil(own_s)} s here: send fewer inputs at a time",
                    retry_after_s=max(self._waiting_s, 1.0),
                )
            if self._waiting_s + own_s > left_s:
                raise overloaded(
                    "others wait for so much that the time cannot suffice",
                    retry_after_s=max(self._waiting_s, 1.0),
                )
            self._waiting_s += own_s
        try:
            yield
        finally:
            with self._lock:
                self._waiting_s = max(self._waiting_s - own_s, 0.0)


def overloaded(message: str, *, retry_after_s: float) -> EmbedderUnavailableError:
    """Give the error for work that is sent away."""
    return EmbedderUnavailableError(message, code="OVERLOADED", retry_after_s=retry_after_s)
