"""From messages to inference batches and back: plans rounds, runs batches, gathers vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Queue
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from embedpipe.domain.batching import plan_batches
from embedpipe.errors import EmbedderUnavailableError, PermanentError, PoisonChunkError
from embedpipe.stages.embed import Ids, embed_each
from embedpipe.worker.context import Context
from embedpipe.worker.device import Device
from embedpipe.worker.held import Held, Outcome

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats


@dataclass(frozen=True)
class InferenceBatch:
    """Chunks that are computed together: each a message and the number of the chunk in it."""

    chunks: list[tuple[Held, int]]
    tokens: int


# What starting a pass costs, in tokens that could have been computed meanwhile: measured on CPU
# (16 to 64), assumed on a GPU.
_OVERHEAD_TOKENS = {"cpu": 16, "cuda": 2048}
_SMALLEST_BUDGET = 16
# After so many batches without a memory error the budget is tried twice as large again.
_BATCHES_TO_RECOVER = 256
# Batch N + 1 is planned and gathered before N ends.
_PLANNED_AHEAD = 2


class Engine:
    """Keeps the device busy. `plan` is one thread's, `run` another's.

    Parameters
    ----------
    finished
        Gets each message whose last chunk is computed or whose first one failed.
    """

    def __init__(self, context: Context, device: Device, finished: Callable[[Held], None]) -> None:
        settings = context.ports.settings
        self._device = device
        self._buffer = context.buffer
        self._holdings = context.holdings
        self._counters = context.counters
        self._finished = finished
        self._in_work: dict[int, Held] = {}
        self._full_budget = self._budget = settings.max_batch_tokens or 512
        self._overhead_tokens = _OVERHEAD_TOKENS[settings.provider]
        # Half of what may be held: the other half is received meanwhile.
        self._round_tokens = settings.buffer_tokens // 2
        self._since_memory_error = 0
        self._last_run_failed = False
        self._is_abandoned = Event()
        self._planned: Queue[InferenceBatch | None] = Queue(_PLANNED_AHEAD)
        self._tokens_planned = 0
        self._tokens_run = 0

    @property
    def tokens_left(self) -> int:
        """How many tokens are planned and not yet computed."""
        return max(self._tokens_planned - self._tokens_run, 0)

    def plan_loop(self) -> None:
        """Plan rounds until the buffer is closed."""
        while taken := self._buffer.take(self._round_tokens, None):
            for batch in self.plan(taken):
                self._planned.put(batch)
        self._planned.put(None)

    def run_loop(self) -> None:
        """Compute what is planned until there is no more to come.

        Raises
        ------
        EmbedderUnavailableError
            The device is broken: what failed is not the fault of a chunk.
        """
        while (batch := self._planned.get()) is not None:
            self.run(batch)

    def step(self) -> bool:
        """Plan and compute one round, all in this thread; False when nothing waits."""
        taken = self._buffer.take(self._round_tokens)
        for batch in self.plan(taken):
            self.run(batch)
        return bool(taken)

    def abandon(self) -> list[Held]:
        """Compute nothing more; give the messages that were planned and are not finished."""
        self._is_abandoned.set()
        return list(self._in_work.values())

    def plan(self, taken: Sequence[Held]) -> list[InferenceBatch]:
        """Cut the chunks of some messages into inference batches, across messages, by length."""
        wanted = [held for held in taken if self._is_ours(held)]
        self._in_work.update((id(held), held) for held in wanted)
        chunks = [(held, row) for held in wanted for row in range(len(held.token_ids))]
        lengths = [len(held.token_ids[row]) for held, row in chunks]
        self._tokens_planned += sum(lengths)
        planned = plan_batches(
            lengths, max_tokens=self._budget, overhead_tokens=self._overhead_tokens
        )
        return [
            InferenceBatch([chunks[i] for i in indices], sum(lengths[i] for i in indices))
            for indices in planned
        ]

    def run(self, batch: InferenceBatch) -> None:
        """Compute one inference batch and hand out its vectors and failures."""
        self._tokens_run += batch.tokens
        if self._is_abandoned.is_set():
            return
        chunks = [(held, row) for held, row in batch.chunks if held.outcome is Outcome.OPEN]
        if not chunks:
            return
        results = embed_each(
            [held.token_ids[row] for held, row in chunks],
            run=self._run,
            on_memory_error=self._shrink,
        )
        if any(isinstance(result, PermanentError) for result in results):
            self._check_device()
        for (held, row), result in zip(chunks, results, strict=True):
            self._place(held, row, result)
        self._recover()

    def _is_ours(self, held: Held) -> bool:
        if self._holdings.live(held):
            return True
        # Somebody else has it, or will have: computing it here would be for nothing.
        held.outcome = Outcome.ACK
        self._holdings.forget(held)
        self._counters.add(expired=1)
        return False

    def _run(self, inputs: Sequence[Ids]) -> Floats:
        self._last_run_failed = True
        vectors = self._device.embed(inputs)
        self._last_run_failed = False
        return vectors

    def _check_device(self) -> None:
        # A device that is broken fails every chunk alone; without this each job would be lost.
        if self._last_run_failed and not self._device.is_sound():
            raise EmbedderUnavailableError("the device fails on an input that it has computed")

    def _place(self, held: Held, row: int, result: Floats | Exception) -> None:
        if held.outcome is not Outcome.OPEN:
            return
        if isinstance(result, Exception):
            held.error, held.outcome = _named(result, held, row), Outcome.FAIL
            held.token_ids, held.vectors = (), None
            self._finish(held)
            return
        if held.vectors is None:
            shape = len(held.token_ids), self._device.model.dimensions
            held.vectors = np.empty(shape, dtype=np.float32)
        held.vectors[row] = result
        held.missing -= 1
        if not held.missing:
            held.token_ids, held.outcome = (), Outcome.SEND
            self._finish(held)

    def _finish(self, held: Held) -> None:
        self._in_work.pop(id(held), None)
        self._finished(held)

    def _shrink(self) -> None:
        self._budget = max(self._budget // 2, _SMALLEST_BUDGET)
        self._since_memory_error = 0

    def _recover(self) -> None:
        self._since_memory_error += 1
        if self._budget < self._full_budget and self._since_memory_error >= _BATCHES_TO_RECOVER:
            self._budget = min(self._budget * 2, self._full_budget)
            self._since_memory_error = 0


def _named(error: Exception, held: Held, row: int) -> Exception:
    if isinstance(error, PoisonChunkError) and held.message is not None:
        return PoisonChunkError(f"the model cannot compute chunk {held.message.chunk_from + row}")
    return error
