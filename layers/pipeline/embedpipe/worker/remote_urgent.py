"""Texts that somebody waits for, asked of a provider before what the queues brought."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Condition
from typing import TYPE_CHECKING

from embedpipe.errors import EmbedderUnavailableError
from embedpipe.stages.embed import embed_each

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

    Results = list[Floats | Exception]

# A provider that refuses everything is not asked about each of two thousand texts.
_MOST_RUNS = 64


class UrgentCall:
    """One caller's texts, in requests that several threads run.

    Parameters
    ----------
    requests
        Indices of the texts, each once.
    ask
        Gives the vectors of some texts, shape (texts, dimensions).
    """

    def __init__(
        self,
        texts: Sequence[str],
        requests: Sequence[Sequence[int]],
        ask: Callable[[Sequence[str]], Floats],
    ) -> None:
        self._texts = texts
        self._ask = ask
        self._results: Results = [EmbedderUnavailableError() for _ in texts]
        self._missing = len(requests)
        self._is_over = False
        self._changed = Condition()
        #: What the threads are to run.
        self.parts = [partial(self._run, indices) for indices in requests]

    def wait(self, timeout_s: float) -> Results:
        """Wait for all results, in order.

        Raises
        ------
        EmbedderUnavailableError
            The time is over, or the call was given up.
        """
        until = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over or not self._missing, max(until - time.monotonic(), 0.0)
            )
            is_done, self._is_over = not self._missing, True
            if not is_done:
                raise EmbedderUnavailableError("the provider did not answer in time")
            return self._results

    def give_up(self) -> None:
        """Wake the caller: nobody will run the rest."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _run(self, indices: Sequence[int]) -> None:
        if self._is_over:
            return
        results = embed_each(
            [self._texts[index] for index in indices], run=self._ask, max_runs=_MOST_RUNS
        )
        with self._changed:
            for index, result in zip(indices, results, strict=True):
                self._results[index] = result
            self._missing -= 1
            self._changed.notify_all()
