"""A Lambda's batch of SQS records, each settled by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from embedpipe import telemetry
from embedpipe.adapters import claim_check, sqs_wire
from embedpipe.domain.jobs import JobRef
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import PipelineError, error_code
from embedpipe.messages import Message, decode
from embedpipe.messages import named_job as named_job
from embedpipe.ports import Blobs, Database, Inbox, Jobs, Outbox, OutboxRow, OutboxRows, Received
from embedpipe.stages.controls import ControlReader, hand_back
from embedpipe.stages.relay import relay
from embedpipe.stages.settle import Settled, settle_failure

M = TypeVar("M", bound=Message)


class NotDoneError(Exception):
    """The record stays in the queue. It says no more: Powertools puts it into its debug log."""


class _PanicError(Exception):
    """Stands for a panic of a Rust extension, which is no Exception but must harm one record only.

    The stack goes on standing on the panic; the text does not come along.
    """


class Services(Protocol):
    """What every consumer's entry point is wired with."""

    @property
    def database(self) -> Database:
        """The database."""
        ...

    @property
    def inbox(self) -> Inbox:
        """The queue that it reads."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Large payloads."""
        ...

    @property
    def controls(self) -> ControlReader | None:
        """What operators let the stage do."""
        ...

    @property
    def policy(self) -> RetryPolicy:
        """How failures are retried."""
        ...


class Consumer(Generic[M]):
    """Turn an SQS event into partial batch failures. One bad record never fails its neighbours.

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
    ) -> None:
        self._has_time = has_time
        self._controls = controls
        self._stage = stage
        self._begun = 0
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
        )

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Work through the records of an event, in order; give the answer for Lambda."""
        records = event.get("Records", [])
        if records and self._controls is not None and self._controls.is_paused(self._stage):
            self._logger.info("stage is paused, messages are handed back", messages=len(records))
            ids = hand_back(list(map(_received, records)), self._inbox, self._policy)
            return {"batchItemFailures": [{"itemIdentifier": one} for one in ids]}
        self._begun = 0
        processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
        if records:  # Powertools refuses an empty event.
            with processor(records=records, handler=self._record):
                processor.process()
        return dict(processor.response())

    def _record(self, record: SQSRecord) -> None:
        received = _received(record.raw_event)
        started = time.perf_counter()
        with self._logger.append_context_keys(message_id=received.message_id):
            if self._begun and not self._has_time():
                self._hand_back(received)
            self._begun += 1
            try:
                self._work(received)
            finally:
                self._telemetry.duration(telemetry.STAGE_LATENCY, time.perf_counter() - started)

    def _hand_back(self, received: Received) -> NoReturn:
        self._logger.info("no time left for the message")
        try:
            self._inbox.retry(received, 0)
        except PipelineError as error:
            # It comes back when its visibility timeout is over.
            self._logger.warning(
                "message could not be handed back", settle_error_code=error_code(error)
            )
        raise NotDoneError

    def _work(self, received: Received) -> None:
        message: M | None = None
        try:
            message = decode(self._model, claim_check.resolve(received.body, self._blobs))
            with self._logger.append_context_keys(**_keys(message)):
                self._handle(message)
        except Exception as error:  # noqa: BLE001
            self._failed(received, message, error)
        except BaseException as panic:
            if type(panic).__name__ != "PanicException":
                raise
            self._failed(received, message, _PanicError().with_traceback(panic.__traceback__))
        else:
            self._telemetry.count(telemetry.MESSAGES_PROCESSED)

    def _failed(self, received: Received, message: M | None, error: Exception) -> None:
        self._telemetry.count(telemetry.MESSAGES_FAILED)
        ref = message.ref if message else named_job(received.body)
        keys = {**(_keys(message) if message else _ref_keys(ref)), "error_code": error_code(error)}
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


def relay_or_leave(
    rows: Sequence[OutboxRow], outbox: OutboxRows, queues: Mapping[str, Outbox], stage: str
) -> None:
    """Send what was committed; what cannot be sent is left to the sweep.

    Whatever goes wrong: the rows are committed, and no record is to come back for it.
    """
    try:
        relay(rows, outbox=outbox, queues=queues)
    except Exception as error:  # noqa: BLE001
        keys = {} if isinstance(error, PipelineError) else telemetry.error_keys(error)
        keys |= {"error_code": error_code(error)}
        telemetry.of(stage).logger.warning("rows are left to the sweep", **keys)


def time_left(context: Any, reserve_s: float) -> Callable[[], bool]:
    """Make a question of it whether more than the reserve is left of an invocation."""
    return lambda: context.get_remaining_time_in_millis() > 1000 * reserve_s


def _received(record: Mapping[str, Any]) -> Received:
    system = record.get("attributes", {})
    return Received(
        message_id=record["messageId"],
        receipt_handle=record["receiptHandle"],
        body=record["body"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        group_id=system.get("MessageGroupId"),
        attributes={
            name: attribute["stringValue"]
            for name, attribute in record.get("messageAttributes", {}).items()
            if attribute.get("stringValue") is not None
        },
        first_received_at=sqs_wire.moment(system.get("ApproximateFirstReceiveTimestamp")),
    )


def _keys(message: Message) -> dict[str, Any]:
    return {"operation_id": message.operation_id, **_ref_keys(message.ref)}


def _ref_keys(ref: JobRef | None) -> dict[str, Any]:
    return {} if ref is None else {"job_id": ref.job_id, "tenant_id": ref.tenant_id}
