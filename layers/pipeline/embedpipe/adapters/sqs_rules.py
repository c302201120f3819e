"""The limits of SQS, and what a DLQ copy says: one truth for the real queue and the one in memory.

Emulators do not enforce the limits of AWS, so that we must, or they are found in production.
Source: AWS, Amazon SQS message quotas, and API reference of SendMessage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from embedpipe.domain.dead_letters import PUT_BACK, REASON
from embedpipe.errors import error_code, failure_type
from embedpipe.ports import Outgoing, Received

MAX_ENTRIES = 10
MAX_BATCH_BYTES = 1_048_576
MAX_DELAY_S = 900
MAX_VISIBILITY_S = 43_200
MAX_WAIT_S = 20
MAX_ATTRIBUTES = 10
#: What a move task takes.
MAX_MOVES_PER_S = 500
#: The 12 hours count from the receive, and a Lambda may have held the message for 15 minutes.
MAX_RETRY_S = MAX_VISIBILITY_S - 900
#: What every body leaves free: the attributes that a copy in the DLQ carries count too.
REASON_BYTES = 1_024

_REFUSED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STRING = len("String")
#: How many attributes of a DLQ copy make room for nothing.
_ALWAYS = 6

T = TypeVar("T")


def size_bytes(body: str, attributes: Mapping[str, str]) -> int:
    """Count a message as SQS does: body, and name, type and value of each attribute."""
    return _utf8(body) + sum(
        _utf8(name) + _STRING + _utf8(value) for name, value in attributes.items()
    )


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def body_limit_bytes(max_message_bytes: int) -> int:
    """Give the largest message that can still be copied to a DLQ of the same limit."""
    return min(max_message_bytes, MAX_BATCH_BYTES) - REASON_BYTES


def check_outgoing(message: Outgoing) -> None:
    """Refuse what AWS refuses, size apart.

    Raises
    ------
    ValueError
        A bug of the caller: messages are ASCII JSON with few attributes and short delays.
    """
    if not 0 <= message.delay_s <= MAX_DELAY_S:
        raise ValueError("delay_s must be 0 to 900")
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise ValueError("a message has at most 10 attributes")
    if any(not value or _REFUSED.search(value) for value in message.attributes.values()):
        raise ValueError("an attribute is empty or has a character that SQS refuses")
    if not message.body or _REFUSED.search(message.body):
        raise ValueError("the body is empty or has a character that SQS refuses")
    if not 1 <= len(message.group_id) <= 128:
        raise ValueError("group_id must have 1 to 128 characters")


def check_unique(messages: Sequence[Outgoing]) -> None:
    """Refuse two messages with one key: the answer could not say which one was accepted."""
    if len({message.key for message in messages}) != len(messages):
        raise ValueError("the keys of one send must differ")


def check_visibility(visibility_s: int) -> None:
    """Refuse a visibility timeout that AWS refuses."""
    if not 0 <= visibility_s <= MAX_VISIBILITY_S:
        raise ValueError("visibility_s must be 0 to 43,200")


def check_receive(max_messages: int, wait_s: float) -> None:
    """Refuse a receive that AWS refuses."""
    if not 1 <= max_messages <= MAX_ENTRIES:
        raise ValueError("max_messages must be 1 to 10")
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise ValueError("wait_s must be 0 to 20")


def reason(
    received: Received,
    error: Exception,
    stage: str,
    queue: str,
    about: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Give the attributes of a DLQ copy: why, where and when, and the message's own; up to 10.

    What the body says too makes room for the message's own. Never the text of the error: it may
    quote a document.
    """
    rejected_at = _moment(datetime.now(UTC))
    first = received.first_received_at
    known = {
        **(about or {}),
        "error_code": error_code(error),
        "failure_type": failure_type(error),
        "stage": stage,
        "source_queue": queue,
        "rejected_at": rejected_at,
        "source_message_id": received.message_id,
        "first_failed_at": _moment(first) if first else rejected_at,
    }
    own = own_attributes(received.attributes)
    own.pop(PUT_BACK, None)
    always = dict.fromkeys(REASON[:_ALWAYS])
    names = [*always, *own, *(name for name in REASON if name in known)]
    chosen = list(dict.fromkeys(names))[:MAX_ATTRIBUTES]
    return {name: known.get(name) or own[name] for name in chosen}


def own_attributes(attributes: Mapping[str, T]) -> dict[str, T]:
    """Give what of the attributes of a dead letter is the message's own, its count included."""
    return {name: value for name, value in attributes.items() if name not in REASON}


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")


def by_tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into runs of at most 10, as every batch call takes."""
    for start in range(0, len(items), MAX_ENTRIES):
        yield items[start : start + MAX_ENTRIES]


def batches(messages: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """Cut into batches of at most 10 messages and 1 MiB, in order."""
    batch: list[Outgoing] = []
    total = 0
    for message in messages:
        size = size_bytes(message.body, message.attributes)
        if batch and (len(batch) == MAX_ENTRIES or total + size > MAX_BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(message)
        total += size
    if batch:
        yield batch
