"""A short measured warm-up: how one model is fastest on one device.

A mix of lengths as documents have is planned as the worker plans it, and computed. Candidates take
turns, so that whatever else the machine does falls on all of them, and medians are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from embedpipe.adapters.embedders.race import Batch, Candidate, Clock, Work, race, rate
from embedpipe.domain.batching import plan_batches
from embedpipe.domain.tuning import (
    Arm,
    overhead_tokens,
    sample_lengths,
    smallest_near_best,
    spread,
)
from embedpipe.ports.models import Embedder, Tuning
from embedpipe.stages.embed import is_memory_error

# Parts of the time, and of what is left of it then.
_ARMS_SHARE, _OVERHEAD_SHARE, _BUDGETS_SHARE, _LAST_SHARE = 0.3, 0.1, 0.85, 0.06
_LAST_RATES = 3
# What one batch or one more load may take of the time, to be worth it.
_LARGEST_SHARE = 0.1
_FIRST_TOKENS = 16
_ROW_TOKENS = 32
# Any id will do: the time depends on how many there are.
_ID = 1


@dataclass(frozen=True)
class Space:
    """What may be chosen from.

    Attributes
    ----------
    arms
        The first is taken where there is no time to compare.
    budgets
        Largest padded sizes of an inference batch, ascending.
    usual_budget
        What is taken while other things are measured.
    round_tokens
        Tokens that the worker plans at once: no larger batch is ever filled.
    """

    arms: Sequence[Arm]
    budgets: Sequence[int]
    usual_budget: int
    round_tokens: int


class Measurement:
    """One measurement of a model.

    Parameters
    ----------
    open_arm
        Loads the model for an arm.
    limit_s
        About how long it may take, loading included. What it is too short for is left as usual.
    busy_clock
        Seconds that the calling thread has computed. Where a batch is computed by one thread, sizes
        are compared by it: what else the machine does counts for little then. None: by the clock.

    Attributes
    ----------
    share
        How much of its time a thread that computed got from the machine, after `run`; 1.0 if that
        is not known.
    """

    def __init__(
        self,
        open_arm: Callable[[Arm], Embedder],
        space: Space,
        *,
        limit_s: float,
        clock: Clock = time.perf_counter,
        busy_clock: Clock | None = None,
    ) -> None:
        self._open_arm = open_arm
        self._space = space
        self._limit_s = limit_s
        self._clock = clock
        self._busy_clock = busy_clock or clock
        self._deadline = clock() + limit_s
        self._usual = space.usual_budget
        self._rate = 0.0
        self.share = 1.0

    def run(self) -> Tuning:
        """Measure; give what is fastest. Raises what the runtime raises, but for lack of memory."""
        arm, embedder = self._best_arm()
        size_clock = self._busy_clock if arm.threads == 1 else self._clock
        overhead = self._overhead(embedder, size_clock)
        budget = self._best_budget(embedder, arm.streams, overhead, size_clock)
        return Tuning(
            max_batch_tokens=budget,
            overhead_tokens=overhead,
            streams=arm.streams,
            threads=arm.threads,
            tokens_per_s=round(self._rate, 1),
        )

    def _best_arm(self) -> tuple[Arm, Embedder]:
        first, *others = self._space.arms
        began = self._clock()
        opened = {first: self._open_arm(first)}
        load_s = self._clock() - began
        self._look(opened[first])
        share_s = self._limit_s * _ARMS_SHARE
        if not others or load_s * len(others) > share_s or not self._affords(self._usual):
            return first, opened[first]
        opened |= {arm: self._open_arm(arm) for arm in others}
        work = Work(self._planned(opened[first], self._usual, 0))
        # Of two as fast, threads that do not wait for each other leave more to others.
        racing = {
            arm: partial(rate, opened[arm], arm.streams, work, clock=self._clock)
            for arm in sorted(opened, reverse=True)
        }
        arm = self._chosen(race(racing, share_s, self._clock)) or first
        return arm, opened[arm]

    def _look(self, embedder: Embedder) -> None:
        """Find out roughly how fast it is, and how much at once its memory is enough for."""
        tokens = min(_FIRST_TOKENS, self._usual)
        while True:
            try:
                seconds = _seconds(embedder, _rows(tokens, embedder.model.max_tokens), self._clock)
            # Whatever the runtime raises: it has no class of its own for this.
            except Exception as error:
                if tokens <= _FIRST_TOKENS or not is_memory_error(error):
                    raise
                self._usual = tokens // 4
                return
            self._rate = tokens / seconds
            if tokens >= self._usual or not self._affords(4 * tokens):
                return
            tokens = min(4 * tokens, self._usual)

    def _overhead(self, embedder: Embedder, size_clock: Clock) -> int:
        row = min(_ROW_TOKENS, embedder.model.max_tokens)
        batches = {
            len(batch) * row: batch
            for batch in (_rows(self._usual >> shift, row) for shift in (4, 3, 2, 1, 0))
            if self._affords(len(batch) * row)
        }
        if len(batches) < 2:
            return 0
        until = min(self._clock() + self._limit_s * _OVERHEAD_SHARE, self._deadline)
        seconds: dict[int, list[float]] = {size: [] for size in batches}
        while not all(seconds.values()) or self._clock() < until:
            for size, batch in batches.items():
                seconds[size].append(_seconds(embedder, batch, size_clock))
        medians = {size: median(values) for size, values in seconds.items()}
        return overhead_tokens(medians, most=self._usual)

    def _best_budget(
        self, embedder: Embedder, streams: int, overhead: int, size_clock: Clock
    ) -> int:
        works = {
            budget: Work(self._planned(embedder, budget, overhead))
            for budget in self._space.budgets
            if budget <= self._space.round_tokens and self._affords(budget * streams)
        }
        racing = {
            budget: partial(rate, embedder, streams, work, clock=size_clock)
            for budget, work in works.items()
        }
        budget = self._chosen(race(racing, self._left_s() * _BUDGETS_SHARE, self._clock))
        if budget is None:
            return self._usual
        slice_s = self._limit_s * _LAST_SHARE / _LAST_RATES
        rates = [
            rate(embedder, streams, works[budget], slice_s, self._clock) for _ in range(_LAST_RATES)
        ]
        if size_clock is not self._clock:
            self.share = min(median(rates) / self._rate, 1.0)
        self._rate = median(rates)
        return budget

    def _chosen(self, rates: Mapping[Candidate, Sequence[float]]) -> Candidate | None:
        if not rates:
            return None
        chosen = list(rates)[smallest_near_best(list(rates.values()))]
        self._rate = median(rates[chosen])
        return chosen

    def _planned(self, embedder: Embedder, budget: int, overhead: int) -> list[Batch]:
        tuning = Tuning(max_batch_tokens=budget, overhead_tokens=overhead)
        return planned(embedder.model.max_tokens, self._space.round_tokens, tuning)

    def _affords(self, tokens: int) -> bool:
        return tokens / self._rate <= self._limit_s * _LARGEST_SHARE

    def _left_s(self) -> float:
        return max(self._deadline - self._clock(), 0.0)


def planned(max_tokens: int, total: int, tuning: Tuning) -> list[Batch]:
    """Give inference batches of about so many tokens in all, in an order that mixes their sizes."""
    lengths = sample_lengths(max_tokens, total)
    plan = plan_batches(
        lengths, max_tokens=tuning.max_batch_tokens, overhead_tokens=tuning.overhead_tokens
    )
    return [[[_ID] * lengths[index] for index in plan[place]] for place in spread(len(plan))]


def _rows(tokens: int, row: int) -> Batch:
    """Give inputs of one length, about so many tokens together."""
    return [[_ID] * min(row, tokens)] * max(tokens // row, 1)


def _seconds(embedder: Embedder, batch: Batch, clock: Clock) -> float:
    began = clock()
    embedder.embed(batch)
    return max(clock() - began, 1e-9)
