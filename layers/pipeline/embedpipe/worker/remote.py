"""Messages whose texts a provider computes: asked for, gathered, and kept while it is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock, Thread
from typing import TYPE_CHECKING

from embedpipe.errors import (
    EmbedderUnavailableError,
    ModelFilesError,
    ModelMismatchError,
    ModelUnavailableError,
    NotFoundError,
    PipelineError,
)
from embedpipe.ports import RemoteEmbedder
from embedpipe.ports.models import Kind
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.remote_gate import Gate
from embedpipe.worker.remote_line import Request, Round
from embedpipe.worker.remote_queue import RemoteQueue
from embedpipe.worker.remote_requests import RemoteRequests, tenant_of
from embedpipe.worker.remote_urgent import UrgentCall

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

# Threads that do urgent work only: what somebody waits for does not wait for what nobody does.
_URGENT_THREADS = 2
# Of what may be held, this part is kept for providers that are out; the rest is handed back.
_PARKED_PART = 4


class RemoteWork:
    """Has texts computed by providers, several requests at a time.

    A provider that fails is left alone by its circuit breaker. Meanwhile its messages stay here:
    handed back they would come again and again, until their queue counts the receives as spent.
    Only where an outage lasts, so much is handed back that others' messages find room, and for so
    long that the receives last for days.

    Parameters
    ----------
    finished
        Gets each message whose outcome is decided.
    seconds
        A monotonic clock, for pauses.
    """

    def __init__(
        self,
        context: Context,
        finished: Callable[[Held], None],
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = context.ports.settings
        self._remotes = context.ports.remotes
        self._cache = context.ports.cache
        self._finished = finished
        self._concurrency = settings.remote_concurrency
        self._queue = RemoteQueue(
            round_tokens=settings.buffer_tokens // 2,
            parked_tokens=settings.buffer_tokens // _PARKED_PART,
            seconds=seconds,
        )
        gate = Gate(context.ports.breakers, seconds=seconds)
        self._requests = RemoteRequests(context, self._queue, gate, finished)
        self._calls: set[UrgentCall] = set()
        self._lock = Lock()
        self._threads: list[Thread] = []

    @property
    def tokens_left(self) -> int:
        """How many tokens wait or are being asked for, about."""
        return self._queue.weight

    @property
    def is_idle(self) -> bool:
        """Whether every thread has come to its end."""
        return not any(thread.is_alive() for thread in self._threads)

    def loops(self) -> dict[str, Callable[[], None]]:
        """Give the loops that threads are to run, by name; each ends after `close`."""
        if self._remotes is None:
            return {}
        loops: dict[str, Callable[[], None]] = {
            f"remote-{number}": self.loop for number in range(self._concurrency)
        }
        urgent = partial(self.loop, is_urgent_only=True)
        return loops | {f"remote-urgent-{number}": urgent for number in range(_URGENT_THREADS)}

    def start(self) -> None:
        """Run the loops in threads of its own."""
        self._threads = [
            # A thread that hangs in a request must not keep the process from its end.
            Thread(target=loop, name=name, daemon=True)
            for name, loop in self.loops().items()
        ]
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads that `start` made; say whether all have ended."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        return self.is_idle

    def put(self, held: Held) -> bool:
        """Take on a message with texts; False after `close`.

        One that cannot be asked for is finished at once, with its error.
        """
        if held.message is None or held.message.texts is None:
            raise ValueError("a message without texts is not for a provider")
        try:
            embedder = self._embedder(held.message.model_id)
            if held.message.fingerprint != embedder.model.fingerprint:
                raise ModelMismatchError
        except PipelineError as error:
            held.outcome, held.error = Outcome.FAIL, error
            self._finished(held)
            return True
        work = self._queue.put(held, held.message.texts, embedder, self._known(held, embedder))
        if work is None:
            return False
        if work.is_over and work.missing:
            self._requests.hand_back([work])
        elif work.is_over:
            self._requests.send([work])
        return True

    def compute(
        self, model_id: str, texts: Sequence[str], kind: Kind, timeout_s: float
    ) -> list[Floats | Exception]:
        """Have texts computed before everything that waits.

        Returns
        -------
        For each text its vector, shape (dimensions,), float32, or its error: a PermanentError is
        that text's, a TransientError is the provider's (CIRCUIT_OPEN: it was not asked).

        Raises
        ------
        EmbedderUnavailableError
            The time is over, or the worker stops.
        ModelUnavailableError
            There is no such model at a provider.
        """
        embedder = self._embedder(model_id)
        ask = partial(self._requests.vectors, embedder, kind=kind)
        call = UrgentCall(texts, embedder.requests(texts), ask)
        with self._lock:
            self._calls.add(call)
        try:
            if not self._queue.urge(call.parts):
                raise EmbedderUnavailableError("the worker stops")
            return call.wait(timeout_s)
        finally:
            with self._lock:
                self._calls.discard(call)

    def loop(self, *, is_urgent_only: bool = False) -> None:
        """Work until closed and nothing is left to be asked."""
        while self.step(is_urgent_only=is_urgent_only, wait=True):
            pass

    def step(self, *, is_urgent_only: bool = False, wait: bool = False) -> bool:
        """Do one thing in this thread; False when there is nothing to do."""
        match self._queue.next(is_urgent_only=is_urgent_only, wait=wait):
            case None:
                return False
            case Round() as taken:
                self._requests.part(taken)
            case Request() as request:
                try:
                    self._requests.run(request)
                finally:
                    self._queue.done(request)
            case call:
                call()
        return True

    def close(self) -> list[Held]:
        """Take on nothing more; give the messages that were not begun."""
        works = self._queue.close()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.give_up()
        return [work.held for work in works]

    def abandon(self) -> list[Held]:
        """Give the messages that are not finished; what still comes for them is dropped."""
        return [work.held for work in self._queue.take_back()]

    def _embedder(self, model_id: str) -> RemoteEmbedder:
        if self._remotes is None:
            raise ModelUnavailableError("no provider is asked here")
        try:
            return self._remotes.get(model_id)
        except (NotFoundError, ModelFilesError) as exc:
            # A fault of a deployment, half done perhaps; no document is to blame.
            raise ModelUnavailableError from exc

    def _known(self, held: Held, embedder: RemoteEmbedder) -> list[Floats | None]:
        message = held.message
        if self._cache is None or message is None or message.texts is None:
            return []
        keys = [("document", text) for text in message.texts]
        known: list[Floats | None] = self._cache.get_many(
            tenant_of(held), embedder.model.fingerprint, keys
        )
        return known
