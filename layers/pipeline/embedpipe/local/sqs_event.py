"""The forms of an SQS event source: messages to records, answers to failures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedpipe.local.template import REGION

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

# Lambda's limit on an event is 6 MB; the rest is for the envelopes.
EVENT_LIMIT_BYTES = 6_000_000


def record(message: MessageTypeDef, queue_arn: str) -> dict[str, Any]:
    """Give a message the form that it has in a Lambda event."""
    body = message["Body"]
    attributes: Mapping[str, Any] = message.get("MessageAttributes", {})
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": body,
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
        "md5OfBody": message.get("MD5OfBody")
        or hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": value["DataType"],
    }
    if "StringValue" in value:
        found["stringValue"] = value["StringValue"]
    return found


def failed_ids(response: Any, ids: Sequence[str]) -> set[str]:
    """Read a partial batch response as Lambda does.

    Nothing, or an empty list, is a full success; anything that is not well-formed, or names a
    message that was not in the batch, is a full failure.

    Examples
    --------
    >>> failed_ids({"batchItemFailures": []}, ["a", "b"])
    set()
    >>> sorted(failed_ids({"batchItemFailures": [{"itemIdentifier": "x"}]}, ["a", "b"]))
    ['a', 'b']
    """
    if response is None:
        return set()
    failures = response.get("batchItemFailures") if isinstance(response, dict) else "no object"
    if failures is None:
        return set()
    if not isinstance(failures, list):
        return set(ids)
    named = {str(item.get("itemIdentifier")) for item in failures if isinstance(item, dict)}
    is_sound = len(named) == len(failures) and named <= set(ids)
    return named if is_sound else set(ids)


def within_limit(messages: Sequence[MessageTypeDef]) -> Iterator[list[MessageTypeDef]]:
    """Part a batch where its event would be over Lambda's limit."""
    group: list[MessageTypeDef] = []
    size = 0
    for message in messages:
        # The body is a string inside the event, so what JSON escapes counts twice.
        length = len(json.dumps(message["Body"], ensure_ascii=False).encode()) + 2_000
        if group and size + length > EVENT_LIMIT_BYTES:
            yield group
            group, size = [], 0
        group.append(message)
        size += length
    if group:
        yield group
