"""Queues on SQS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from embedpipe.adapters import claim_check, sqs_rules, sqs_wire
from embedpipe.adapters.aws import error_code, outages_as
from embedpipe.errors import MessageTooLargeError, QueueUnavailableError
from embedpipe.ports import Blobs, Depths, Outgoing, Received

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    Client = SQSClient | Callable[[], SQSClient]

#: The pause before the entries that SQS itself failed are tried once more.
_PAUSE_S = 0.05
#: The lease is gone: expired, settled, or taken over by another delivery.
_LOST = frozenset({"InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"})
#: A queue that is not there comes back: an emulator that restarts, a stack that is deployed.
_NO_QUEUE = ("NonExistentQueue", "QueueDoesNotExist")

Entries = Mapping[str, Any]


class SqsQueue:
    """Inbox and Outbox on a standard queue. Threads may share it.

    Parameters
    ----------
    client
        A client of SQS, or a function that gives one on first use.
    stage
        The stage that reads the queue; a DLQ copy names it.
    name
        The queue as the outbox names it, where that is not the stage; a DLQ copy names it too.
    max_message_bytes
        The MaximumMessageSize of the queue and of its DLQ.
    blobs
        Where a larger body goes, by claim check; None refuses it.
    """

    def __init__(
        self,
        client: Client,
        url: str,
        *,
        stage: str,
        name: str | None = None,
        dlq_url: str | None = None,
        max_message_bytes: int = sqs_rules.MAX_BATCH_BYTES,
        blobs: Blobs | None = None,
    ) -> None:
        self._get = client if callable(client) else lambda: client
        self._url = url
        self._stage = stage
        self._name = name or stage
        self._dlq_url = dlq_url
        self._limit_bytes = sqs_rules.body_limit_bytes(max_message_bytes)
        self._blobs = blobs

    # Inbox

    def receive(self, *, max_messages: int = 10, wait_s: float = 10.0) -> list[Received]:
        """Receive up to 10 messages, waiting up to 20 s, in whole seconds, for the first."""
        sqs_rules.check_receive(max_messages, wait_s)
        with _translated():
            answer = self._get().receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=math.ceil(wait_s),
                MessageSystemAttributeNames=sqs_wire.SYSTEM_ATTRIBUTES,
                MessageAttributeNames=["All"],
            )
        return [sqs_wire.received(message) for message in answer.get("Messages", ())]

    def ack(self, received: Sequence[Received]) -> None:
        """Remove messages; one that is gone is no error.

        Raises
        ------
        QueueUnavailableError
            Some could not be removed and will be delivered again.
        """
        failed = self._in_batches(received, {}, "delete_message_batch")
        if any(not entry["SenderFault"] for entry in failed.values()):
            raise QueueUnavailableError

    def retry(self, received: Received, delay_s: float) -> None:
        """Hand a message back, hidden for whole seconds; one that is gone is no error."""
        from botocore.exceptions import ClientError

        try:
            with _translated():
                self._get().change_message_visibility(
                    QueueUrl=self._url,
                    ReceiptHandle=received.receipt_handle,
                    VisibilityTimeout=min(math.ceil(max(delay_s, 0.0)), sqs_rules.MAX_RETRY_S),
                )
        except ClientError as exc:
            if error_code(exc.response) not in _LOST:
                raise

    def extend(self, received: Sequence[Received], visibility_s: int) -> list[Received]:
        """Hide messages for longer; give back those whose lease is lost, or may be."""
        sqs_rules.check_visibility(visibility_s)
        failed = self._in_batches(
            received, {"VisibilityTimeout": visibility_s}, "change_message_visibility_batch"
        )
        return [delivery for index, delivery in enumerate(received) if str(index) in failed]

    def copy_to_dlq(
        self, received: Received, error: Exception, about: Mapping[str, str] | None = None
    ) -> None:
        """Copy a message, byte for byte, to the DLQ with the reason as attributes."""
        if self._dlq_url is None:
            raise RuntimeError(f"queue {self._stage} has no DLQ")
        also = sqs_wire.traced(received.trace_header)
        if received.group_id is not None:
            also["MessageGroupId"] = received.group_id
        attributes = sqs_rules.reason(received, error, self._stage, self._name, about)
        with _translated():
            self._get().send_message(
                QueueUrl=self._dlq_url,
                MessageBody=received.body,
                MessageAttributes=sqs_wire.typed(attributes),
                **cast("Any", also),
            )

    # Outbox

    def send(self, messages: Sequence[Outgoing]) -> set[str]:
        """Send all; a body over the limit goes by claim check where there is an object store.

        Returns
        -------
        The keys that SQS accepted. The rest may be sent again.

        Raises
        ------
        MessageTooLargeError
            A body is over the limit and there is no object store; nothing is sent.
        QueueUnavailableError
            Nothing could be sent.
        BlobsUnavailableError
            Large bodies could not be stored, and there were no others.
        """
        sqs_rules.check_unique(messages)
        accepted: set[str] = set()
        ready = claim_check.all_ready(messages, self._ready, self._fits)
        try:
            for batch in sqs_rules.batches(ready):
                accepted |= self._send_batch(batch)
        except QueueUnavailableError:
            if not accepted:
                raise
        if messages and not accepted:
            raise QueueUnavailableError
        return accepted

    def backlog(self) -> int:
        """Count messages, about: those that wait, are delayed, or are in somebody's hands."""
        return self.depths().total

    def depths(self) -> Depths:
        """Count messages, about, by what becomes of them."""
        with _translated():
            answer = self._get().get_queue_attributes(
                QueueUrl=self._url, AttributeNames=list(sqs_wire.COUNTS)
            )
        return Depths(*(int(answer["Attributes"][name]) for name in sqs_wire.COUNTS))

    def check(self) -> None:
        """Raise QueueUnavailableError when the queue does not answer."""
        with _translated():
            self._get().get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])

    def _ready(self, message: Outgoing) -> Outgoing:
        sqs_rules.check_outgoing(message)
        if self._fits(message):
            return message
        if self._blobs is None:
            raise MessageTooLargeError
        return replace(message, body=claim_check.check_in(message.body, self._blobs))

    def _fits(self, message: Outgoing) -> bool:
        return sqs_rules.size_bytes(message.body, message.attributes) <= self._limit_bytes

    def _send_batch(self, batch: Sequence[Outgoing]) -> set[str]:
        entries = {str(index): sqs_wire.entry(message) for index, message in enumerate(batch)}
        failed = self._call("send_message_batch", entries)
        return {message.key for index, message in enumerate(batch) if str(index) not in failed}

    def _in_batches(
        self, received: Sequence[Received], extra: Entries, operation: str
    ) -> dict[str, Any]:
        """Call a batch operation for all; give the failures, by index as text."""
        entries = [
            (str(index), {"ReceiptHandle": delivery.receipt_handle, **extra})
            for index, delivery in enumerate(received)
        ]
        failed: dict[str, Any] = {}
        for ten in sqs_rules.by_tens(entries):
            failed |= self._call(operation, dict(ten))
        return failed

    def _call(self, operation: str, entries: Mapping[str, Entries]) -> dict[str, Any]:
        """Call a batch operation; what failed by no fault of ours is tried once more."""
        failed = self._call_once(operation, entries)
        again = {key: entries[key] for key, entry in failed.items() if not entry["SenderFault"]}
        if not again:
            return failed
        time.sleep(_PAUSE_S)
        faults = {key: entry for key, entry in failed.items() if key not in again}
        return faults | self._call_once(operation, again)

    def _call_once(self, operation: str, entries: Mapping[str, Entries]) -> dict[str, Any]:
        with _translated():
            answer = getattr(self._get(), operation)(
                QueueUrl=self._url,
                Entries=[{"Id": key, **entry} for key, entry in entries.items()],
            )
        return {entry["Id"]: entry for entry in answer.get("Failed", ())}


@contextmanager
def _translated() -> Iterator[None]:
    with outages_as(QueueUnavailableError, *_NO_QUEUE):
        yield
