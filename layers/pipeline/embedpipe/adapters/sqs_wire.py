"""Messages as the API of SQS writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from embedpipe.ports import Outgoing, Received

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import MessageSystemAttributeNameType, QueueAttributeNameType

SYSTEM_ATTRIBUTES: list[MessageSystemAttributeNameType] = [
    "ApproximateReceiveCount",
    "MessageGroupId",
]

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
    )


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
    return fields
