"""A Lambda's batch of SQS records, each settled by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, NoReturn, TypeVar

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from embedpipe import telemetry
from embedpipe.adapters import claim_check, sqs_wire
from embedpipe.consumer_services import Services
from embedpipe.consumer_services import relay_or_leave as relay_or_leave
from embedpipe.consumer_services import time_left as time_left
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import PipelineError, StoreUnavailableError, TransientError, error_code
from embedpipe.messages import Message, decode, hop, keys_of
from embedpipe.messages import named_job as named_job
from embedpipe.ports import (
    Blobs,
    CrashKey,
    CrashLedger,
    Inbox,
    Jobs,
    Received,
)
from embedpipe.stages.controls import ControlReader, hand_back
from embedpipe.stages.settle import Settled, settle_failure
from embedpipe.stages.suspects import on_trial

M = TypeVar("M", bound=Message)


class NotDoneError(Exception):
    """The record stays in the queue. It says no more: Powertools puts it into its debug log."""


class _PanicError(Exception):
    """Stands for a panic of a Rust extension, which is no Exception but must harm one record only.

    The stack goes on standing on the panic; the text does not come along.
    """


class Consumer(Generic[M]):
    """Turn an SQS event into partial batch failures. One bad record never fails its neighbours.

    A record that was delivered before may be what ended a process: such suspects come last, what is
    done by then is removed first, so that it never comes back with them, and each is written down
    in the crash ledger while it is worked on.

    A record is done when its handler returned, or when it is in the DLQ with its reason. It is
    named as failed when it will come back: after its backoff, or, when even settling it failed,
    after the visibility timeout of the queue.

    Parameters
    ----------
    model
        The message of the queue.
    handle
        The work; what it returns is ignored, what it raises is settled.
    has_time
        Whether there is time for another record. The first is always begun; those that there is no
        time for are handed back at once, and not killed in the middle with the whole batch.
    """

    def __init__(
        self,
        model: type[M],
        handle: Callable[[M], object],
        *,
        inbox: Inbox,
        jobs: Jobs,
        policy: RetryPolicy,
        stage: str,
        blobs: Blobs,
        has_time: Callable[[], bool] = lambda: True,
        controls: ControlReader | None = None,
        ledger: CrashLedger | None = None,
    ) -> None:
        self._has_time = has_time
        self._controls = controls
        self._stage = stage
        self._ledger = ledger
        self._begun = 0
        self._done: list[Received] = []
        self._is_database_away = self._is_anything_away = False
        self._model = model
        self._handle = handle
        self._inbox = inbox
        self._jobs = jobs
        self._policy = policy
        self._blobs = blobs
        self._telemetry = telemetry.of(stage)
        self._logger = self._telemetry.logger

    @classmethod
    def of(
        cls,
        services: Services,
        model: type[M],
        handle: Callable[[M], object],
        stage: str,
        has_time: Callable[[], bool],
    ) -> Consumer[M]:
        """Make one of what an entry point is wired with."""
        return cls(
            model,
            handle,
            inbox=services.inbox,
            jobs=services.database.jobs,
            policy=services.policy,
            stage=stage,
            blobs=services.blobs,
            has_time=has_time,
            controls=services.controls,
            ledger=services.database.crash_ledger,
        )

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Work through the records of an event, in order; give the answer for Lambda."""
        records = event.get("Records", [])
        if records and self._controls is not None and self._controls.is_paused(self._stage):
            self._logger.info("stage is paused, messages are handed back", messages=len(records))
            ids = hand_back(list(map(sqs_wire.of_record, records)), self._inbox, self._policy)
            return {"batchItemFailures": [{"itemIdentifier": one} for one in ids]}
        self._begun, self._done = 0, []
        self._is_database_away = self._is_anything_away = False
        records = sorted(records, key=lambda record: sqs_wire.of_record(record).is_suspect)
        processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
        if records:  # Powertools refuses an empty event.
            self._telemetry.measure(telemetry.BATCH_SIZE, len(records))
            with processor(records=records, handler=self._record):
                processor.process()
        return dict(processor.response())

    def _record(self, record: SQSRecord) -> None:
        received = sqs_wire.of_record(record.raw_event)
        started = time.perf_counter()
        with self._logger.append_context_keys(message_id=received.message_id):
            if self._is_database_away:
                wait_s = self._policy.outage_delay_s(received.receive_count)
                self._hand_back(received, "the database is away", wait_s)
            if self._begun and not self._has_time():
                # At once; but what took the time may be away, and would take another receive soon.
                wait_s = self._policy.outage_delay_s(received.receive_count)
                wait_s = wait_s if self._is_anything_away else 0
                self._hand_back(received, "no time left for the message", wait_s)
            if received.is_suspect:
                self._remove_done()
            self._begun += 1
            self._telemetry.measure(telemetry.PAYLOAD_BYTES, len(received.body))
            try:
                self._work(received, started)
            finally:
                self._telemetry.duration(telemetry.STAGE_LATENCY, time.perf_counter() - started)

    def _hand_back(self, received: Received, reason: str, delay_s: float = 0) -> NoReturn:
        self._logger.info(reason)
        try:
            self._inbox.retry(received, delay_s)
        except PipelineError as error:
            # It comes back when its visibility timeout is over.
            self._logger.warning(
                "message could not be handed back", settle_error_code=error_code(error)
            )
        raise NotDoneError

    def _work(self, received: Received, started: float) -> None:
        message: M | None = None
        keys: dict[str, str] = {}
        try:
            message = decode(self._model, claim_check.resolve(received.body, self._blobs))
            message, keys = hop(message)
            with self._logger.append_context_keys(**keys):
                if received.is_suspect and self._ledger is not None:
                    with self._on_trial(message, self._ledger):
                        self._handle(message)
                else:
                    self._handle(message)
        except Exception as error:  # noqa: BLE001
            self._failed(received, message, keys, error)
        except BaseException as panic:
            if type(panic).__name__ != "PanicException":
                raise
            ours = _PanicError().with_traceback(panic.__traceback__)
            self._failed(received, message, keys, ours)
        else:
            self._done.append(received)
            self._telemetry.count(telemetry.MESSAGES_PROCESSED)
            ms = round((time.perf_counter() - started) * 1000, 1)
            self._logger.info("message done", extra={**keys, "ms": ms})

    def _on_trial(self, message: M, ledger: CrashLedger) -> AbstractContextManager[None]:
        key = CrashKey(message.ref, self._stage, getattr(message, "batch_no", None))
        return on_trial(key, ledger=ledger, max_deaths=self._policy.max_deaths)

    def _remove_done(self) -> None:
        """Remove what is done: the process may not live to name it."""
        done, self._done = self._done, []
        try:
            self._inbox.ack(done)
        except PipelineError as error:
            self._logger.warning("done messages stay for now", error_code=error_code(error))

    def _failed(
        self, received: Received, message: M | None, known: dict[str, str], error: Exception
    ) -> None:
        self._telemetry.count(telemetry.MESSAGES_FAILED)
        self._is_database_away = isinstance(error, StoreUnavailableError) and not self._answers()
        self._is_anything_away = isinstance(error, TransientError) and not error.spends_attempt
        ref = message.ref if message else named_job(received.body)
        keys: dict[str, Any] = {**(known or keys_of(ref)), "error_code": error_code(error)}
        if not isinstance(error, PipelineError):
            keys |= telemetry.error_keys(error)
        try:
            settled = settle_failure(
                received,
                error,
                inbox=self._inbox,
                jobs=self._jobs,
                policy=self._policy,
                ref=ref,
                batch_no=getattr(message, "batch_no", None),
            )
        except Exception as unsettled:  # noqa: BLE001
            also = {"settle_error_code": error_code(unsettled), **telemetry.error_keys(unsettled)}
            self._logger.error("message failed and could not be settled", **{**keys, **also})
            raise NotDoneError from None
        if settled is Settled.RETRIED:
            self._logger.warning("message failed and comes back", **keys)
            raise NotDoneError from None
        self._telemetry.count(telemetry.MESSAGES_REJECTED)
        self._logger.error("message rejected", **keys)

    def _answers(self) -> bool:
        """Ask the database once whether it is away, so that not every record waits for it."""
        try:
            self._jobs.check()
        except StoreUnavailableError:
            return False
        return True
