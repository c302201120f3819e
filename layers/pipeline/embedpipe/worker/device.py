"""The loaded model, shared by queued work and synchronous requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

from embedpipe.ports import Embedder, ModelInfo
from embedpipe.stages.embed import Ids
from embedpipe.worker.counters import Counters

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats


class PriorityLock:
    """A lock that goes to an urgent waiter first."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._is_busy = False
        self._urgent_waiting = 0
        #: How many callers wait.
        self.waiting = 0

    @contextmanager
    def held(self, *, urgent: bool) -> Iterator[None]:
        """Hold the lock; while an urgent caller waits, no other gets it."""
        with self._changed:
            self._urgent_waiting += urgent
            self.waiting += 1
            try:
                self._changed.wait_for(
                    lambda: not self._is_busy and (urgent or not self._urgent_waiting)
                )
                self._is_busy = True
            finally:
                self._urgent_waiting -= urgent
                self.waiting -= 1
        try:
            yield
        finally:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()


class Device:
    """One inference batch at a time on the model, counted and timed."""

    def __init__(
        self,
        embedder: Embedder,
        counters: Counters,
        *,
        seconds: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._embedder = embedder
        self._counters = counters
        self._seconds = seconds
        self._lock = PriorityLock()
        self._known_good: Sequence[Ids] = ()

    @property
    def model(self) -> ModelInfo:
        """The model that is loaded."""
        return self._embedder.model

    @property
    def waiting(self) -> int:
        """How many callers wait for their pass."""
        return self._lock.waiting

    def warm_up(self, inputs: Sequence[Ids]) -> float:
        """Compute a first inference batch and keep it to test the device with; give the seconds.

        Raises
        ------
        Exception
            Whatever the runtime raises: nothing can be computed.
        """
        start = self._seconds()
        self._check(self._embedder.embed(inputs), len(inputs))
        self._known_good = inputs
        return self._seconds() - start

    def is_sound(self) -> bool:
        """Say whether it still computes what it computed at its start."""
        try:
            with self._lock.held(urgent=True):
                self._check(self._embedder.embed(self._known_good), len(self._known_good))
        except (KeyboardInterrupt, SystemExit):
            raise
        # A Rust panic derives from BaseException.
        except BaseException:  # noqa: BLE001
            return False
        return True

    def embed(self, inputs: Sequence[Ids], *, urgent: bool = False) -> Floats:
        """Compute one inference batch; an urgent one goes before those that wait.

        Returns
        -------
        Shape (inputs, dimensions), float32.
        """
        with self._lock.held(urgent=urgent):
            start = self._seconds()
            is_done = False
            try:
                vectors = self._embedder.embed(inputs)
                self._check(vectors, len(inputs))
                is_done = True
            finally:
                self._count(inputs, self._seconds() - start, is_done=is_done, urgent=urgent)
        return vectors

    def _check(self, vectors: Floats, count: int) -> None:
        if vectors.shape != (count, self.model.dimensions):
            raise RuntimeError("the model gave vectors of another shape than it promises")

    def _count(self, inputs: Sequence[Ids], embed_s: float, *, is_done: bool, urgent: bool) -> None:
        self._counters.add(passes=1, sync_passes=int(urgent), embed_s=embed_s)
        if not is_done:
            self._counters.add(failed_passes=1)
            return
        lengths = [len(ids) for ids in inputs]
        self._counters.add(
            chunks=len(lengths), tokens=sum(lengths), padded_tokens=len(lengths) * max(lengths)
        )
