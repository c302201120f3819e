"""Sends results and settles messages: the settlement last."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from embedpipe import telemetry
from embedpipe.errors import PermanentError, PipelineError, error_code
from embedpipe.ports import Outgoing, Received
from embedpipe.stages.embed import answer
from embedpipe.stages.settle import Settled, settle_failure
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome
from embedpipe.worker.outage import Outage

# A result that cannot be sent for so long is given up; its message comes back.
_KEEP_S = 900.0
_STOPPING_PAUSE_S = 0.5


class Sender:
    """Takes decided messages to their end. `put` is every thread's, the rest one thread's.

    A failed call leaves its messages where they are, to be tried again with growing pauses: work
    that is computed is not lost to an outage. A delivery whose lease is lost is never
    acknowledged or handed back: the handle may act on another consumer's delivery. Its result is
    sent all the same, as the store stage is fenced.
    """

    def __init__(self, context: Context) -> None:
        self._inbox = context.ports.inbox
        self._store_queue = context.ports.store_queue
        self._jobs = context.ports.jobs
        self._policy = context.ports.policy
        self._holdings = context.holdings
        self._counters = context.counters
        self._outages = context.outages
        self._logger = context.logger
        self._clock = context.clock
        self._decided: SimpleQueue[Held | None] = SimpleQueue()
        self._open: list[Held] = []
        self._is_closed = False
        self._not_before = 0.0

    def put(self, held: Held) -> None:
        """Take over a message whose outcome is decided."""
        held.decided_at = self._clock()
        self._decided.put(held)

    def close(self) -> None:
        """End the loop once everything is settled."""
        self._decided.put(None)

    def loop(self) -> None:
        """Settle what comes until closed and nothing is open."""
        while not (self._is_closed and not self._open):
            self._collect(self._pause_s())
            if self._open and time.monotonic() >= self._not_before:
                self._not_before = time.monotonic() + self._settle()

    def step(self) -> bool:
        """Settle what is decided, in this thread; False when there is nothing or it failed."""
        self._collect(0.0)
        before = len(self._open)
        self._settle()
        return len(self._open) < before

    def _pause_s(self) -> float | None:
        if not self._open:
            return None
        pause_s = max(self._not_before - time.monotonic(), 0.0)
        return min(pause_s, _STOPPING_PAUSE_S) if self._is_closed else pause_s

    def _collect(self, wait_s: float | None) -> None:
        try:
            if wait_s is None or wait_s > 0:
                self._take(self._decided.get(timeout=wait_s))
            while True:
                self._take(self._decided.get_nowait())
        except Empty:
            return

    def _take(self, held: Held | None) -> None:
        if held is None:
            self._is_closed = True
            self._not_before = 0.0
        else:
            self._open.append(held)

    def _settle(self) -> float:
        """Try everything once; give the seconds to wait before the next try."""
        pause_s = max(
            self._guarded(self._outages.send, self._send),
            self._guarded(self._outages.settle, self._fail),
            self._guarded(self._outages.ack, self._ack),
        )
        self._give_up()
        return max(pause_s, self._guarded(self._outages.ack, self._release))

    def _guarded(self, outage: Outage, action: Callable[[], bool]) -> float:
        try:
            if action():
                outage.answered()
        except Exception as error:  # noqa: BLE001
            return outage.failed(error)
        return 0.0

    def _with(self, outcome: Outcome) -> list[Held]:
        return [held for held in self._open if held.outcome is outcome]

    def _send(self) -> bool:
        ready = self._with(Outcome.SEND)
        if not ready:
            return False
        for held in ready:
            _make_answer(held)
        try:
            self._send_together(ready)
        except PermanentError:
            # One of them cannot be sent: each by itself tells which.
            for held in ready:
                self._send_alone(held)
        return True

    def _send_together(self, ready: Sequence[Held]) -> None:
        named = {str(number): held for number, held in enumerate(ready)}
        accepted = self._store_queue.send(
            [
                Outgoing(key, held.answer, group_id=held.message.tenant_id)
                for key, held in named.items()
                if held.message is not None
            ]
        )
        for key in accepted:
            named[key].outcome = Outcome.ACK
            named[key].answer = ""
        self._counters.add(done=len(accepted))

    def _send_alone(self, held: Held) -> None:
        try:
            self._send_together([held])
        except PermanentError as error:
            held.outcome, held.error = Outcome.FAIL, error
            held.answer = ""

    def _ack(self) -> bool:
        ready = self._with(Outcome.ACK)
        live = [one for held in ready for one in self._holdings.live(held)]
        if live:
            self._inbox.ack(live)
        for held in ready:
            self._forget(held)
        return bool(live)

    def _fail(self) -> bool:
        failure: Exception | None = None
        ready = self._with(Outcome.FAIL)
        for held in ready:
            try:
                self._fail_one(held)
            except Exception as error:  # noqa: BLE001
                failure = error
        if failure is not None:
            raise failure
        return bool(ready)

    def _fail_one(self, held: Held) -> None:
        live = self._holdings.live(held)
        error = held.error or PipelineError()
        if not live:
            self._counters.add(expired=1)
            self._forget(held)
            return
        if held.ref is not None:
            # A copy goes to the DLQ before the job is failed: not while the database is away.
            self._jobs.check()
        settled = settle_failure(
            live[0],
            error,
            inbox=self._inbox,
            jobs=self._jobs,
            policy=self._policy,
            ref=held.ref,
            batch_no=held.message.batch_no if held.message else None,
        )
        self._forget(held)
        self._report(held, error, settled)
        if settled is Settled.REJECTED and live[1:]:
            self._inbox.ack(live[1:])

    def _report(self, held: Held, error: Exception, settled: Settled) -> None:
        self._counters.add(**{str(settled): 1})
        keys: dict[str, object] = {
            "message_id": held.received.message_id,
            "error_code": error_code(error),
        }
        if held.ref is not None:
            keys |= {"job_id": held.ref.job_id, "tenant_id": held.ref.tenant_id}
        if not isinstance(error, PipelineError):
            keys |= telemetry.error_keys(error)
        if settled is Settled.REJECTED:
            self._logger.error("message rejected", extra=keys)
        else:
            self._logger.warning("message failed and comes back", extra=keys)

    def _release(self) -> bool:
        ready = self._with(Outcome.RELEASE)
        for held in ready:
            for received in self._forget(held):
                self._inbox.retry(received, 0)
            self._counters.add(released=1)
        return bool(ready)

    def _give_up(self) -> None:
        now = self._clock()
        for held in self._open:
            if held.outcome is not Outcome.RELEASE and now - held.decided_at > _KEEP_S:
                held.outcome = Outcome.RELEASE

    def _forget(self, held: Held) -> list[Received]:
        self._open.remove(held)
        return self._holdings.forget(held)


def _make_answer(held: Held) -> None:
    if not held.answer and held.message is not None and held.vectors is not None:
        held.answer = answer(held.message, held.vectors).encode()
        held.vectors = None
