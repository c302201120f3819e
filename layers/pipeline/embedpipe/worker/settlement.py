"""The calls that take a decided message to its end: the settlement of its delivery last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from embedpipe import telemetry
from embedpipe.errors import (
    PermanentError,
    PipelineError,
    QueueUnavailableError,
    StoreUnavailableError,
    error_code,
)
from embedpipe.messages import keys_of
from embedpipe.ports import Inbox, Outgoing, Received
from embedpipe.stages.embed import answer
from embedpipe.stages.settle import Settled, settle_failure
from embedpipe.worker.context import Context
from embedpipe.worker.held import Held, Lease, Outcome, by_lane


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
        self._clock = context.clock
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
        """Acknowledge messages, those of a lane together; raises the last failure."""
        failed = self._each_lane(
            (lease for held in ready for lease in self._holdings.live(held)),
            lambda inbox, received: inbox.ack(received),
        )
        for held in ready:
            if not any(lease.lane in failed for lease in held.leases):
                work_s = self._observe(held)
                self._forget(held)
                if held.message is not None:
                    sentence = "message done" if held.is_done else "message is not wanted any more"
                    ms = round(work_s * 1000, 1)
                    self._logger.info(sentence, extra=_keys(held) | {"ms": ms})
        _raise_last(failed.values())

    def fail(self, ready: Sequence[Held]) -> None:
        """Retry or reject messages by their errors, each by itself; raises the last failure.

        What does not answer is asked once, not once for each message: a call may take its time-out.
        """
        failures: list[Exception] = []
        for held in ready:
            try:
                self._fail_one(held)
            except (StoreUnavailableError, QueueUnavailableError) as error:
                failures.append(error)
                break
            except Exception as error:  # noqa: BLE001
                failures.append(error)
        _raise_last(failures)

    def release(self, ready: Sequence[Held]) -> None:
        """Hand messages back at once, those of a lane together; raises the last failure.

        What cannot be handed back comes back when its lease ends: nothing is tried again here.
        """
        failed = self._each_lane(
            [lease for held in ready for lease in self._forget(held)],
            lambda inbox, received: inbox.extend(received, 0),
        )
        self._counters.add(released=len(ready))
        _raise_last(failed.values())

    def _each_lane(
        self, leases: Iterable[Lease], action: Callable[[Inbox, list[Received]], object]
    ) -> dict[str, Exception]:
        """Do something with the deliveries of each lane; give what failed, by lane."""
        failed: dict[str, Exception] = {}
        for lane, ours in by_lane(leases).items():
            try:
                action(self._inboxes[lane], [lease.received for lease in ours])
            except Exception as error:  # noqa: BLE001
                failed[lane] = error
        return failed

    def _send_together(self, ready: Sequence[Held]) -> None:
        named = {str(number): held for number, held in enumerate(ready)}
        accepted = self._store_queue.send(
            [
                Outgoing(
                    key,
                    held.answer,
                    group_id=held.message.tenant_id,
                    trace_header=held.received.trace_header,
                )
                for key, held in named.items()
                if held.message is not None
            ]
        )
        for key in accepted:
            held = named[key]
            held.outcome, held.answer, held.is_done = Outcome.ACK, "", True
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
            # Asked once, and not by each failure for its time-out.
            self._jobs.check()
        settled = settle_failure(
            live[0].received,
            error,
            inbox=self._inboxes[live[0].lane],
            jobs=self._jobs,
            policy=self._policy,
            ref=held.ref,
            batch_no=held.message.batch_no if held.message else None,
        )
        self._observe(held)
        self._forget(held)
        self._report(held, error, settled)
        if settled is Settled.REJECTED:
            failed = self._each_lane(live[1:], lambda inbox, received: inbox.ack(received))
            _raise_last(failed.values())

    def _report(self, held: Held, error: Exception, settled: Settled) -> None:
        self._counters.add(**{str(settled): 1})
        keys = _keys(held) | {"error_code": error_code(error)}
        if not isinstance(error, PipelineError):
            keys |= telemetry.error_keys(error)
        if settled is Settled.REJECTED:
            self._logger.error("message rejected", extra=keys)
        else:
            self._logger.warning("message failed and comes back", extra=keys)

    def _observe(self, held: Held) -> float:
        """Note how long the work took: from when the model got it, or else from its receipt."""
        since = held.leases[0].taken_at if held.begun_at is None else held.begun_at
        work_s = round(self._clock() - since, 4)
        self._counters.observe("work_s", work_s)
        return work_s

    def _forget(self, held: Held) -> list[Lease]:
        held.outcome = Outcome.SETTLED
        return self._holdings.forget(held)


def _raise_last(failures: Iterable[Exception]) -> None:
    for failure in [*failures][-1:]:
        raise failure


def _keys(held: Held) -> dict[str, object]:
    known = held.keys or keys_of(held.ref)
    return {"message_id": held.received.message_id, "lane": held.lane, **known}


def _make_answer(held: Held) -> None:
    if not held.answer and held.message is not None and held.vectors is not None:
        held.answer = answer(held.message, held.vectors).encode()
        held.vectors = None
