"""The calls that take a decided message to its end: the settlement of its delivery last."""

from __future__ import annotations

from collections.abc import Sequence

from embedpipe import telemetry
from embedpipe.errors import PermanentError, PipelineError, QueueUnavailableError, error_code
from embedpipe.ports import Outgoing, Received
from embedpipe.stages.embed import answer
from embedpipe.stages.settle import Settled, settle_failure
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Outcome


class Settlement:
    """What can be done with messages. A call that raises leaves the rest as they are, for later.

    A delivery whose lease is lost is never acknowledged or handed back: the handle may act on
    another consumer's delivery. Its result is sent all the same, as the store stage is fenced.
    """

    def __init__(self, context: Context) -> None:
        self._inboxes = context.ports.inboxes
        self._store_queue = context.ports.store_queue
        self._jobs = context.ports.jobs
        self._policy = context.ports.policy
        self._holdings = context.holdings
        self._counters = context.counters
        self._logger = context.logger

    def send(self, ready: Sequence[Held]) -> None:
        """Send results; each that the queue accepted is to be acknowledged then."""
        for held in ready:
            _make_answer(held)
        try:
            self._send_together(ready)
        except PermanentError:
            # One of them cannot be sent: each by itself tells which.
            for held in ready:
                self._send_alone(held)
        if any(held.outcome is Outcome.SEND for held in ready):
            raise QueueUnavailableError("the queue did not take all")

    def ack(self, ready: Sequence[Held]) -> None:
        """Acknowledge messages, all in one call."""
        for lane, inbox in self._inboxes.items():
            ours = [held for held in ready if held.lane == lane]
            if live := [received for held in ours for received in self._holdings.live(held)]:
                inbox.ack(live)
        for held in ready:
            self._forget(held)

    def fail(self, ready: Sequence[Held]) -> None:
        """Retry or reject messages by their errors, each by itself; raises the last failure."""
        failure: Exception | None = None
        for held in ready:
            try:
                self._fail_one(held)
            except Exception as error:  # noqa: BLE001
                failure = error
        if failure is not None:
            raise failure

    def release(self, ready: Sequence[Held]) -> None:
        """Hand messages back at once."""
        for held in ready:
            for received in self._forget(held):
                self._inboxes[held.lane].retry(received, 0)
            self._counters.add(released=1)

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
            named[key].outcome, named[key].answer = Outcome.ACK, ""
        self._counters.add(done=len(accepted))

    def _send_alone(self, held: Held) -> None:
        try:
            self._send_together([held])
        except PermanentError as error:
            held.outcome, held.error, held.answer = Outcome.FAIL, error, ""

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
            inbox=self._inboxes[held.lane],
            jobs=self._jobs,
            policy=self._policy,
            ref=held.ref,
            batch_no=held.message.batch_no if held.message else None,
        )
        self._forget(held)
        self._report(held, error, settled)
        if settled is Settled.REJECTED and live[1:]:
            self._inboxes[held.lane].ack(live[1:])

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

    def _forget(self, held: Held) -> list[Received]:
        held.outcome = Outcome.SETTLED
        return self._holdings.forget(held)


def _make_answer(held: Held) -> None:
    if not held.answer and held.message is not None and held.vectors is not None:
        held.answer = answer(held.message, held.vectors).encode()
        held.vectors = None
