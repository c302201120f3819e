"""SQS events as Lambda gets them: from the files in events/, or from what a queue gave."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedpipe.adapters.memory.models import fake_model
from embedpipe.ports import Outbox, Outgoing, Received

EVENTS = Path(__file__).parents[1] / "events"
#: The model that the events of the embed and store stages name, for fakes to play.
MODEL = fake_model(
    "all-MiniLM-L6-v2",
    fingerprint="6fbef2cf2af4c06d3b5bbfcf64d14aa9e7f44c698a6769d419a5532d45a95f3f",
    dimensions=384,
)


def event(name: str) -> dict[str, Any]:
    """Read events/<name>.json."""
    read: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return read


def as_event(received: Sequence[Received]) -> dict[str, Any]:
    """Give the event that an event source mapping makes of these messages."""
    return {"Records": [_record(one) for one in received]}


def send_bodies(queue: Outbox, name: str) -> None:
    """Put the bodies of events/<name>.json into a queue."""
    queue.send(
        [
            Outgoing(record["messageId"], record["body"], group_id="tenant-a")
            for record in event(name)["Records"]
        ]
    )


def failed_ids(answer: dict[str, Any]) -> list[str]:
    """Give the message ids that an answer names as failed."""
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def _record(received: Received) -> dict[str, Any]:
    return {
        "messageId": received.message_id,
        "receiptHandle": received.receipt_handle,
        "body": received.body,
        "attributes": {
            "ApproximateReceiveCount": str(received.receive_count),
            "MessageGroupId": received.group_id,
        },
        "messageAttributes": {
            name: {"stringValue": value, "dataType": "String"}
            for name, value in received.attributes.items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q",
        "awsRegion": "us-east-1",
    }


@dataclass
class LambdaContext:
    """What Powertools reads of the context that Lambda passes."""

    function_name: str = "test"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:test"
    aws_request_id: str = "30000000-0000-4000-8000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Give the time that is left of the invocation."""
        return 60_000
