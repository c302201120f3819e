"""Receives messages, reads them, and asks whether anybody still wants their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from embedpipe.domain.jobs import BatchRef
from embedpipe.errors import ModelUnavailableError, NotFoundError, TransientError
from embedpipe.messages import EmbedRequested, decode
from embedpipe.ports import ModelInfo
from embedpipe.stages.embed import Ids, as_exception, token_ids
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.outage import Outage

_MAX_MESSAGES = 10
# A poll that took longer than it may was stopped on its way: its messages may be anybody's.
_LATE_S = 2.0
# How often a receiver that has no room looks for the end.
_GLANCE_S = 0.5

Decide = Callable[[Held, Outcome, Exception | None], None]
T = TypeVar("T")


class _StoppingError(Exception):
    """The worker stops; what was begun is handed back."""


class Receiver:
    """Fills the buffer while there is room. What it cannot use it decides at once.

    An outage of the database or the object store stops it: received messages are held until the
    service is back, and nothing more is received, so that no receive is spent in vain.

    Parameters
    ----------
    decide
        Hands a message on with what is to be done with it.
    lane
        Whose queue to receive from.
    """

    def __init__(self, context: Context, decide: Decide, lane: str = "normal") -> None:
        self._inbox = context.ports.inboxes[lane]
        self._lane = lane
        self._jobs = context.ports.jobs
        self._models = context.ports.models
        self._resolve = context.ports.resolve
        self._named_job = context.ports.named_job
        self._holdings = context.holdings
        self._buffer = context.buffer
        self._counters = context.counters
        self._stop = context.stop
        self._outages = context.outages
        self._clock = context.clock
        self._decide = decide

    def loop(self, wait_s: float) -> None:
        """Receive until the worker stops; never after that."""
        while not self._stop.is_set():
            if not self._holdings.wait_for_room(_GLANCE_S):
                continue
            try:
                self.step(wait_s)
            except Exception as error:  # noqa: BLE001
                self._stop.wait(self._outages.receive.failed(error))
            else:
                self._outages.receive.answered()

    def step(self, wait_s: float) -> int:
        """Receive once and deal with what came; give how many messages that were.

        Raises
        ------
        QueueUnavailableError
            Nothing was received.
        """
        started = self._clock()
        received = self._inbox.receive(
            max_messages=self._holdings.room_for(_MAX_MESSAGES), wait_s=wait_s
        )
        if not received:
            return 0
        now = self._clock()
        at = now if now - started <= wait_s + _LATE_S else started
        taken = self._holdings.take(received, at)
        for held in taken:
            held.lane = self._lane
        self._counters.add(received=len(taken))
        try:
            self._admit(taken)
        except _StoppingError:
            self._hand_on(taken, Outcome.RELEASE, None)
        # A bug of ours: each message is settled by itself, with backoff.
        except Exception as error:  # noqa: BLE001
            self._hand_on(taken, Outcome.FAIL, error)
        return len(taken)

    def _admit(self, taken: Sequence[Held]) -> None:
        read = [(held, ids) for held in taken if (ids := self._read(held)) is not None]
        batches = [held.batch for held, _ in read if held.batch is not None]
        wanted = self._wanted(batches)
        for held, ids in read:
            if held.batch not in wanted:
                self._counters.add(unwanted=1)
                self._decide(held, Outcome.ACK, None)
            elif not self._holdings.opened(held, ids):
                self._counters.add(duplicates=1)
                held.outcome = Outcome.ACK
            elif not self._buffer.put(held):
                self._decide(held, Outcome.RELEASE, None)

    def _read(self, held: Held) -> list[Ids] | None:
        try:
            body = self._patiently(
                self._outages.claim_check, lambda: self._resolve(held.received.body)
            )
            held.message = decode(EmbedRequested, body)
            held.ref = held.message.ref
            return token_ids(held.message, self._model(held.message.model_id))
        except (_StoppingError, KeyboardInterrupt, SystemExit):
            raise
        # A Rust panic, of pydantic here, derives from BaseException.
        except BaseException as error:  # noqa: BLE001
            held.ref = held.ref or self._named_job(held.received.body)
            self._decide(held, Outcome.FAIL, as_exception(error))
            return None

    def _model(self, model_id: str) -> ModelInfo:
        try:
            return self._models.get(model_id)
        except NotFoundError as error:
            raise ModelUnavailableError("this worker does not have the model") from error

    def _wanted(self, batches: Sequence[BatchRef]) -> set[BatchRef]:
        if not batches:
            return set()
        return self._patiently(self._outages.fence, lambda: self._jobs.pending(batches))

    def _patiently(self, outage: Outage, call: Callable[[], T]) -> T:
        while True:
            if self._stop.is_set():
                raise _StoppingError
            try:
                result = call()
            except TransientError as error:
                if error.spends_attempt:
                    raise
                self._stop.wait(outage.failed(error))
            else:
                outage.answered()
                return result

    def _hand_on(self, taken: Sequence[Held], outcome: Outcome, error: Exception | None) -> None:
        for held in taken:
            if held.outcome is Outcome.OPEN:
                self._decide(held, outcome, error)
