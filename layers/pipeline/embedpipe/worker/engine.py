"""From messages to inference batches and back: takes batches, computes them, gathers vectors."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import TYPE_CHECKING

import numpy as np

from embedpipe.errors import EmbedderUnavailableError, PoisonChunkError
from embedpipe.stages.embed import Ids
from embedpipe.worker.buffer import InferenceBatch
from embedpipe.worker.context import Context
from embedpipe.worker.desk import Desk, Request, UrgentBatch
from embedpipe.worker.device import Devices
from embedpipe.worker.flows import Chunk
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.passes import Passes
from embedpipe.worker.solitude import Solitude
from embedpipe.worker.trials import Trials

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats
    from embedpipe.worker.passes import Results

_RETRY_AFTER_S = 5.0


class Engine:
    """Keeps the device busy. `plan_loop` and `trials_loop` are one thread's each.

    `run_loop` is that of each stream.

    Parameters
    ----------
    finished
        Gets each message whose last chunk is computed or whose first one failed.
    """

    def __init__(
        self, context: Context, devices: Devices, finished: Callable[[Held], None]
    ) -> None:
        self._devices = devices
        self._passes = Passes(devices, context.ports.settings.default_model_id)
        self._cache = context.ports.cache
        self._buffer = context.buffer
        self._clock = context.clock
        self._finished = finished
        self._desk = Desk()
        self._trials = Trials(context, self._spare, self._put_back)
        self._solitude = Solitude()
        self._in_work: dict[int, Held] = {}
        self._tokens_taken = 0
        self._streams = 0
        self._is_abandoned = Event()
        self._lock = Lock()

    @property
    def tokens_left(self) -> int:
        """How many tokens wait or are taken and not yet computed."""
        return self._buffer.tokens + self._tokens_taken

    def plan_loop(self, streams: int = 1) -> None:
        """Make batches ready, one for each stream, until the buffer is closed."""
        self._desk.ahead = streams
        while self._desk.wait_for_room() and (batch := self._taken(None)) is not None:
            (self._trials.put if self._is_tried(batch) else self._desk.put)(batch)
        self._trials.close()
        self._desk.close()

    def trials_loop(self) -> None:
        """Have suspects computed, one after another, until `plan_loop` has ended."""
        self._trials.loop(self._desk.put)

    def run_loop(self) -> None:
        """Compute what is ready until there is no more to come.

        Raises
        ------
        EmbedderUnavailableError
            The device is broken: what failed is not the fault of a chunk.
        """
        with self._lock:
            self._streams += 1
        try:
            while (batch := self._desk.next()) is not None:
                self.run(batch)
        finally:
            with self._lock:
                self._streams -= 1

    def step(self) -> bool:
        """Compute all that waits, in this thread; False when nothing did."""
        is_anything = False
        while (batch := self._taken(0.0)) is not None:
            if self._is_tried(batch):
                self._trials.run(batch, self.run)
            else:
                self.run(batch)
            is_anything = True
        return is_anything

    def compute(
        self, model_id: str, inputs: Sequence[Ids], timeout_s: float
    ) -> list[Floats | Exception]:
        """Compute inputs that somebody waits for, before what the queues brought.

        Those who call at the same time share batches. Where no stream is at work, the caller
        computes.

        Returns
        -------
        For each input its vector, shape (dimensions,), float32, or its error.

        Raises
        ------
        ModelUnavailableError
            The model cannot be loaded.
        EmbedderUnavailableError
            The time is over, or the worker stops.
        """
        if not inputs:
            return []
        deadline = time.monotonic() + timeout_s
        request = Request(self._devices.get(model_id), inputs, list(range(len(inputs))))
        self._desk.ask(request)
        while not self._streams and (batch := self._desk.next_urgent()) is not None:
            self.run(batch)
        is_done = request.done.wait(max(deadline - time.monotonic(), 0.0))
        self._desk.withdraw(request)
        if request.error is not None:
            raise request.error
        if not is_done:
            raise EmbedderUnavailableError("the time is over", retry_after_s=_RETRY_AFTER_S)
        return [request.results[row] for row in range(len(inputs))]

    def abandon(self) -> None:
        """Begin nothing more; what is being computed may still be finished."""
        self._is_abandoned.set()
        self._desk.abandon()

    def unfinished(self) -> list[Held]:
        """Give the messages of which a part was taken; none of them will be finished after this."""
        with self._lock:
            left = list(self._in_work.values())
            self._in_work.clear()
        self._trials.give_up()
        return left

    def run(self, batch: InferenceBatch | UrgentBatch) -> None:
        """Compute one inference batch and hand out its vectors and failures."""
        if isinstance(batch, UrgentBatch):
            with self._solitude.shared():
                self._run_urgent(batch)
            return
        try:
            self._run(batch)
        except (KeyboardInterrupt, SystemExit):
            if batch.trial is not None:
                batch.trial.is_fatal = True
            raise
        finally:
            self._untake(batch)
            if batch.trial is not None:
                batch.trial.over.set()

    def _run(self, batch: InferenceBatch) -> None:
        is_exclusive = batch.trial is not None and batch.trial.is_exclusive
        with self._solitude.alone() if is_exclusive else self._solitude.shared():
            if not self._is_abandoned.is_set():
                chunks = [one for one in batch.chunks if one.message.is_open]
                batch = InferenceBatch(batch.device, chunks, batch.tokens)
                self._place(batch, self._passes.run(batch.device, batch.inputs))

    def _run_urgent(self, batch: UrgentBatch) -> None:
        try:
            results = self._passes.run(batch.device, batch.inputs, urgent=True)
        except Exception as error:
            for request, _ in batch.parts:
                request.error = error
                request.done.set()
            raise
        for (request, row), result in zip(batch.parts, results, strict=True):
            request.results[row] = result
            if len(request.results) == len(request.inputs):
                request.done.set()

    def _taken(self, timeout_s: float | None) -> InferenceBatch | None:
        batch = self._buffer.take(timeout_s, may_be_suspect=self._trials.has_room)
        if batch is not None:
            now = self._clock()
            with self._lock:
                self._tokens_taken += batch.tokens
                for chunk in batch.chunks:
                    if chunk.message.is_open:
                        held = chunk.message.held
                        self._in_work[id(held)] = held
                        held.begun_at = now if held.begun_at is None else held.begun_at
        return batch

    def _untake(self, batch: InferenceBatch) -> None:
        with self._lock:
            self._tokens_taken -= batch.tokens

    def _is_tried(self, batch: InferenceBatch) -> bool:
        return batch.is_suspect and self._trials.is_on

    def _spare(self, batch: InferenceBatch, error: Exception) -> None:
        """End a message with an error instead of computing it."""
        self._untake(batch)
        self._fail(batch.chunks[0].message.held, error)

    def _put_back(self, batch: InferenceBatch) -> bool:
        if not self._buffer.put_back(batch.chunks):
            return False
        self._untake(batch)
        return True

    def _place(self, batch: InferenceBatch, results: Results) -> None:
        computed: defaultdict[int, list[tuple[Chunk, Floats]]] = defaultdict(list)
        for chunk, result in zip(batch.chunks, results, strict=True):
            if isinstance(result, Exception):
                self._fail(chunk.message.held, _named(result, chunk))
            else:
                computed[id(chunk.message)].append((chunk, result))
        for several in computed.values():
            self._remember(several)
            self._fill(several[0][0].message.held, several, batch.device.model.dimensions)

    def _remember(self, computed: Sequence[tuple[Chunk, Floats]]) -> None:
        message = computed[0][0].message.held.message
        if self._cache is not None and message is not None:
            inputs = [chunk.ids for chunk, _ in computed]
            vectors = [vector for _, vector in computed]
            self._cache.put_many(message.tenant_id, message.fingerprint, inputs, vectors)

    def _fail(self, held: Held, error: Exception) -> None:
        with self._lock:
            if self._in_work.pop(id(held), None) is None:
                return
            held.error, held.outcome = error, Outcome.FAIL
            held.token_ids, held.vectors = (), None
        self._finished(held)

    def _fill(self, held: Held, computed: Sequence[tuple[Chunk, Floats]], dimensions: int) -> None:
        # Streams compute chunks of one message at the same time.
        with self._lock:
            if id(held) not in self._in_work:
                return
            if held.vectors is None:
                held.vectors = np.empty((len(held.token_ids), dimensions), dtype=np.float32)
            for chunk, vector in computed:
                held.vectors[chunk.row] = vector
            held.missing -= len(computed)
            if held.missing:
                return
            held.token_ids, held.outcome = (), Outcome.SEND
            del self._in_work[id(held)]
        self._finished(held)


def _named(error: Exception, chunk: Chunk) -> Exception:
    message = chunk.message.held.message
    if isinstance(error, PoisonChunkError) and message is not None:
        return PoisonChunkError(f"the model cannot compute chunk {message.chunk_from + chunk.row}")
    return error
