"""Receives messages, reads them, and asks whether anybody still wants their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

from embedpipe.domain.jobs import BatchRef
from embedpipe.domain.lanes import NORMAL
from embedpipe.errors import (
    MalformedMessageError,
    ModelFilesError,
    ModelMismatchError,
    ModelUnavailableError,
    NotFoundError,
    TransientError,
)
from embedpipe.messages import EmbedRequested, decode, hop
from embedpipe.ports import ModelInfo
from embedpipe.stages.embed import Ids, as_exception, token_ids
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.outage import Outage

_MAX_MESSAGES = 10
# A poll that took longer than it may was stopped on its way: its messages may be anybody's.
_LATE_S = 2.0
# How often a receiver that has no room, or nothing to help with, looks for the end.
_GLANCE_S = 0.5
# A helper's poll: long enough for SQS to ask all its servers, and hardly longer.
_HELPER_WAIT_S = 1.0

Decide = Callable[[Held, Outcome, Exception | None], None]
Put = Callable[[Held], bool]
T = TypeVar("T")


class _StoppingError(Exception):
    """The worker stops; what was begun is handed back."""


class Receiver:
    """Receives from one lane while it has room. What it cannot use it decides at once.

    An outage of the database or the object store stops it: received messages are held until the
    service is back, and nothing more is received, so that no receive is spent in vain.

    Parameters
    ----------
    decide
        Hands a message on with what is to be done with it.
    put
        Takes a message that is to be computed here, False when the worker stops.
    lane
        Whose queue to receive from.
    put_remote
        The same for a message that a provider computes. Without it such messages wait for a worker
        that has one.
    """

    def __init__(
        self,
        context: Context,
        decide: Decide,
        put: Put,
        lane: str = NORMAL,
        put_remote: Put | None = None,
    ) -> None:
        self._inbox = context.ports.inboxes[lane]
        self._lane = lane
        self._put_here = put
        self._put_remote = put_remote
        self._is_busy = Event()
        self._jobs = context.ports.jobs
        self._models = context.ports.models
        self._resolve = context.ports.resolve
        self._named_job = context.ports.named_job
        self._holdings = context.holdings
        self._counters = context.counters
        self._stop = context.stop
        self._gate = context.gate
        self._outages = context.outages
        self._outage = context.outages.receive[lane]
        self._clock = context.clock
        self._decide = decide

    def loop(self, wait_s: float) -> None:
        """Receive until the worker stops, but not while the stage is paused; never after that."""
        while not self._stop.is_set():
            if self._may_receive():
                self._attempt(wait_s)

    def help_loop(self, wait_s: float) -> None:
        """Receive as well, in another thread, while every receive comes back full.

        So one reads and asks the database while the other receives, and an idle queue still costs
        no more than one request at a time.
        """
        wait_s = min(wait_s, _HELPER_WAIT_S)
        while not self._stop.is_set():
            if self._is_busy.wait(_GLANCE_S) and self._may_receive():
                self._attempt(wait_s)

    def step(self, wait_s: float) -> int:
        """Receive once and deal with what came; give how many messages that were.

        Raises
        ------
        QueueUnavailableError
            Nothing was received.
        """
        started = self._clock()
        at_most = self._holdings.room_for(_MAX_MESSAGES, self._lane)
        received = self._inbox.receive(max_messages=at_most, wait_s=wait_s)
        if len(received) == at_most:
            self._is_busy.set()
        if not received:
            self._is_busy.clear()
            return 0
        now = self._clock()
        at = now if now - started <= wait_s + _LATE_S else started
        taken = self._holdings.take(received, at, self._lane)
        self._measure(taken)
        try:
            self._admit(taken)
        except _StoppingError:
            self._hand_on(taken, Outcome.RELEASE, None)
        # A bug of ours: each message is settled by itself, with backoff.
        except Exception as error:  # noqa: BLE001
            self._hand_on(taken, Outcome.FAIL, error)
        return len(taken)

    def _measure(self, taken: Sequence[Held]) -> None:
        sizes = [len(held.received.body) for held in taken]
        self._counters.add(received=len(sizes), payload_bytes=sum(sizes))
        self._counters.observe("batch", len(sizes))
        for size in sizes:
            self._counters.observe("payload_bytes", size)

    def _may_receive(self) -> bool:
        return self._gate.wait(_GLANCE_S) and self._holdings.wait_for_room(_GLANCE_S, self._lane)

    def _attempt(self, wait_s: float) -> None:
        try:
            self.step(wait_s)
        except Exception as error:  # noqa: BLE001
            self._stop.wait(self._outage.failed(error))
        else:
            self._outage.answered()

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
            else:
                self._put(held)

    def _put(self, held: Held) -> None:
        put = self._put_here if held.token_ids or self._put_remote is None else self._put_remote
        try:
            is_taken = put(held)
        # Its model cannot be loaded, say; no other message is to suffer for that.
        except Exception as error:  # noqa: BLE001
            self._decide(held, Outcome.FAIL, error)
        else:
            if not is_taken:
                self._decide(held, Outcome.RELEASE, None)

    def _read(self, held: Held) -> list[Ids] | None:
        try:
            body = self._patiently(
                self._outages.claim_check, lambda: self._resolve(held.received.body)
            )
            held.message, held.keys = hop(decode(EmbedRequested, body))
            held.ref = held.message.ref
            return self._inputs(held.message)
        except (_StoppingError, KeyboardInterrupt, SystemExit):
            raise
        # A Rust panic, of pydantic here, derives from BaseException.
        except BaseException as error:  # noqa: BLE001
            held.ref = held.ref or self._named_job(held.received.body)
            self._decide(held, Outcome.FAIL, as_exception(error))
            return None

    def _inputs(self, message: EmbedRequested) -> list[Ids]:
        """Give the ids of a message that has some; check one with texts."""
        model = self._model(message.model_id)
        if not model.is_remote:
            return token_ids(message, model)
        if message.fingerprint != model.fingerprint:
            raise ModelMismatchError
        if message.texts is None:
            raise MalformedMessageError("texts: missing, and a provider takes nothing else")
        if self._put_remote is None:
            raise ModelUnavailableError("this worker asks no provider")
        return []

    def _model(self, model_id: str) -> ModelInfo:
        try:
            return self._models.get(model_id)
        except (NotFoundError, ModelFilesError) as error:
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
