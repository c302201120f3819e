"""Messages as the API of SQS writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from embedpipe.domain.dead_letters import REASON
from embedpipe.ports import DeadLetter, MoveTask, Outgoing, Received

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import MessageSystemAttributeNameType, QueueAttributeNameType

SYSTEM_ATTRIBUTES: list[MessageSystemAttributeNameType] = [
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "MessageGroupId",
    "AWSTraceHeader",
]

#: Source: AWS X-Ray Developer Guide, "Tracing header".
_TRACE_HEADER = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}(;[A-Za-z]{1,32}=[\w:.|-]{0,128}){0,8}")

#: What of a queue's attributes counts its messages.
COUNTS: tuple[QueueAttributeNameType, ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


def received(message: Mapping[str, Any]) -> Received:
    """Read a message of a receive."""
    system = message.get("Attributes", {})
    return Received(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=int(system.get("ApproximateReceiveCount", 1)),
        group_id=system.get("MessageGroupId"),
        attributes={
            name: attribute["StringValue"]
            for name, attribute in message.get("MessageAttributes", {}).items()
            if "StringValue" in attribute
        },
        first_received_at=moment(system.get("ApproximateFirstReceiveTimestamp")),
        trace_header=_trace_header(system),
    )


def of_record(record: Mapping[str, Any]) -> Received:
    """Read a record of a Lambda event."""
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
        first_received_at=moment(system.get("ApproximateFirstReceiveTimestamp")),
        trace_header=_trace_header(system),
    )


def dead_letter(message: Mapping[str, Any], stage: str, names: Mapping[str, str]) -> DeadLetter:
    """Read a message of a receive from a DLQ.

    Parameters
    ----------
    names
        What the outbox calls the queues, by the last part of their URL and ARN.
    """
    system = message.get("Attributes", {})
    wire = dict(message.get("MessageAttributes", {}))
    source = wire.get("source_queue", {}).get("StringValue", stage)
    if arn := system.get("DeadLetterQueueSourceArn"):
        # The queue itself moved it. A reason that it carries is that of an earlier stay.
        wire = {name: value for name, value in wire.items() if name not in REASON}
        source = names.get(arn.rpartition(":")[2], stage)
    return DeadLetter(
        received=received({**message, "MessageAttributes": wire}),
        source_queue=source if source in names.values() else stage,
        sent_at=moment(system.get("SentTimestamp")) or datetime.now(UTC),
        wire=wire,
    )


def move_task(task: Mapping[str, Any]) -> MoveTask:
    """Read a task of a listing."""
    return MoveTask(
        status=task["Status"],
        moved=task.get("ApproximateNumberOfMessagesMoved", 0),
        to_move=task.get("ApproximateNumberOfMessagesToMove", 0),
        started_ms=task.get("StartedTimestamp", 0),
        handle=task.get("TaskHandle", ""),
        reason=task.get("FailureReason", ""),
    )


def moment(milliseconds: str | None) -> datetime | None:
    """Read a time."""
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC) if milliseconds else None


def typed(attributes: Mapping[str, str]) -> dict[str, Any]:
    """Write attributes."""
    return {
        name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
    }


def entry(message: Outgoing) -> dict[str, Any]:
    """Write an entry of a batch, without its id."""
    fields: dict[str, Any] = {"MessageBody": message.body, "MessageGroupId": message.group_id}
    if message.delay_s:
        fields["DelaySeconds"] = message.delay_s
    if message.attributes:
        fields["MessageAttributes"] = typed(message.attributes)
    return fields | traced(message.trace_header)


def traced(trace_header: str | None) -> dict[str, Any]:
    """Write the trace that a message belongs to. It counts neither as size nor as attribute."""
    if trace_header is None:
        return {}
    return {"MessageSystemAttributes": typed({"AWSTraceHeader": trace_header})}


def _trace_header(system: Mapping[str, str]) -> str | None:
    """Give what a message says of its trace; what is no header is not handed on."""
    found = system.get("AWSTraceHeader", "")
    return found if _TRACE_HEADER.fullmatch(found) else None
