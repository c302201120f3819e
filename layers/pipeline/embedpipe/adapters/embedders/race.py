"""Compare ways to compute the same work, in turns, for a limited time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from statistics import median
from threading import Lock
from typing import TypeVar

from embedpipe.ports.models import Embedder
from embedpipe.stages.embed import is_memory_error

Batch = list[list[int]]
Clock = Callable[[], float]
Candidate = TypeVar("Candidate")

ROUNDS = 7
# Shorter ones are all start and stop.
_LEAST_SLICE_S = 0.02
# What even at its best was so much slower than another is not measured again.
_HOPELESS = 0.9


@dataclass
class Work:
    """Planned batches without an end, taken by several threads."""

    batches: Sequence[Batch]
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._source = cycle(self.batches)

    def take(self) -> Batch:
        """Give the next one."""
        with self._lock:
            return next(self._source)


def rate(embedder: Embedder, streams: int, work: Work, seconds: float, clock: Clock) -> float:
    """Compute for so long, each stream at least one batch; give the real tokens per second."""

    def stream(_: int) -> float:
        start = clock()
        tokens, elapsed = 0, 0.0
        while elapsed < seconds:
            batch = work.take()
            embedder.embed(batch)
            tokens += sum(map(len, batch))
            elapsed = clock() - start
        return tokens / elapsed

    if streams == 1:
        return stream(0)
    with ThreadPoolExecutor(streams) as threads:
        return sum(threads.map(stream, range(streams)))


def race(
    candidates: Mapping[Candidate, Callable[[float], float]], seconds: float, clock: Clock
) -> dict[Candidate, list[float]]:
    """Measure candidates in turns; give the rates of each, in the order given.

    One that has not enough memory is left out; of slow ones there are fewer rates. Nothing is given
    when the time was over before each had its turn: that would favour the first.

    Parameters
    ----------
    candidates
        Each takes seconds to measure for, and gives a rate.
    """
    until = clock() + seconds
    slice_s = max(seconds / (ROUNDS * max(len(candidates), 1)), _LEAST_SLICE_S)
    rates: dict[Candidate, list[float]] = {candidate: [] for candidate in candidates}
    running = list(candidates)
    for number in range(ROUNDS):
        for candidate in tuple(running):
            if clock() >= until:
                return _measured(rates) if number else {}
            try:
                rates[candidate].append(candidates[candidate](slice_s))
            # Whatever the runtime raises: it has no class of its own for this.
            except Exception as error:
                if not is_memory_error(error):
                    raise
                running.remove(candidate)
                rates[candidate].clear()
        # Once may be bad luck.
        if number:
            running = _hopeful(running, rates)
    return _measured(rates)


def _hopeful(
    running: Sequence[Candidate], rates: Mapping[Candidate, Sequence[float]]
) -> list[Candidate]:
    best = max((median(rates[candidate]) for candidate in running), default=0.0)
    return [one for one in running if max(rates[one]) >= best * _HOPELESS]


def _measured(rates: Mapping[Candidate, list[float]]) -> dict[Candidate, list[float]]:
    return {candidate: values for candidate, values in rates.items() if values}
