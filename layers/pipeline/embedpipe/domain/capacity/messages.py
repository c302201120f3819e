"""Requests to the queues, as SQS bills them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embedpipe.domain.capacity.book import Book
from embedpipe.domain.capacity.choices import Choices
from embedpipe.domain.capacity.embedding import Embedding
from embedpipe.domain.capacity.workload import BILLED_BYTES, HOURS_A_MONTH, Document, Workload

_EMBED_QUEUES = 3
_MAPPINGS = 2


@dataclass(frozen=True)
class Requests:
    """Requests of a month.

    Attributes
    ----------
    of_messages
        To send, receive and delete.
    of_idle_tasks
        Empty polls of embed tasks.
    of_mappings
        Polls of the event source mappings, which never stop.
    of_maintenance
        To look at queues and dead letters.
    moved_gb
        What goes over the network in both directions.
    """

    of_messages: float
    of_idle_tasks: float
    of_mappings: float
    of_maintenance: float
    moved_gb: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.of_messages + self.of_idle_tasks + self.of_mappings + self.of_maintenance


def requests(
    workload: Workload, doc: Document, embed: Embedding, choices: Choices, figures: Book
) -> Requests:
    """Count the requests; each message goes by itself, the most that there can be."""
    stages = (
        (1, doc.chunk_message_bytes),
        (doc.batches, doc.embed_message_bytes),
        (doc.batches, doc.store_message_bytes),
    )
    of_document = sum(count * billed(size) for count, size in stages)
    moved = sum(2 * count * size for count, size in stages)
    polls_an_hour = 3600 / max(1.0, choices.embed_wait_s)
    return Requests(
        of_messages=workload.documents * of_document,
        of_idle_tasks=embed.idle_hours * _EMBED_QUEUES * polls_an_hour,
        of_mappings=_MAPPINGS * figures["pollers"] * 3600 / figures["poll_wait_s"] * HOURS_A_MONTH,
        of_maintenance=choices.database.runs_an_hour
        * HOURS_A_MONTH
        * figures["maintenance_requests"],
        moved_gb=workload.documents * moved / 1e9,
    )


def billed(message_bytes: float) -> int:
    """Say how many requests one message is: sent and received by 64 KiB begun, deleted once.

    Examples
    --------
    >>> billed(420), billed(64 * 1024), billed(135_581)
    (3, 3, 7)
    """
    return 2 * max(1, math.ceil(message_bytes / BILLED_BYTES)) + 1
