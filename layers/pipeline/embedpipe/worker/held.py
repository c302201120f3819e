"""Messages in the worker's hands, from their receipt to their settlement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from embedpipe.domain.jobs import BatchRef, JobRef
from embedpipe.domain.lanes import NORMAL
from embedpipe.messages import EmbedRequested
from embedpipe.ports import Received
from embedpipe.stages.embed import Ids

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats


class Outcome(Enum):
    """What is to be done with a message."""

    #: Not known yet.
    OPEN = auto()
    #: Its vectors are to be sent.
    SEND = auto()
    #: Its error is to be settled: retried or rejected.
    FAIL = auto()
    #: Its result is sent, or nobody wants it any more: to be acknowledged.
    ACK = auto()
    #: To be handed back at once.
    RELEASE = auto()
    #: Over; forgotten by `Holdings`.
    SETTLED = auto()


@dataclass(eq=False)
class Lease:
    """One delivery, until when it is ours, and the lane whose queue gave it.

    The same batch may come by two lanes: a handle is good for the queue that gave it, and no other.
    """

    received: Received
    taken_at: float
    until: float
    lane: str = NORMAL
    #: Its message is settled: nothing more is to be done with it.
    is_over: bool = False


@dataclass(eq=False)
class Held:
    """A message that is being worked on.

    Attributes
    ----------
    leases
        Its deliveries: more than one when the same batch came again meanwhile.
    weight
        What it counts against the buffer, in tokens.
    message, ref
        What it asks for, None when it could not be read; the job that it names, None when it names
        none.
    token_ids, vectors, missing
        What the model is given, rows computed so far, and how many are still to come.
    answer
        The body of the store message, once it is made and until it is sent.
    decided_at
        When the outcome was decided.
    is_unwanted
        Its job ended while it waited.
    begun_at
        When the first of it was taken to be computed here.
    is_done
        Its result is on the store queue.
    keys
        Of every log line about it.
    lane
        The lane that it came from first: it counts against this one, and is computed as of it.
    """

    leases: list[Lease]
    weight: int
    message: EmbedRequested | None = None
    ref: JobRef | None = None
    token_ids: Sequence[Ids] = ()
    vectors: Floats | None = None
    missing: int = 0
    outcome: Outcome = Outcome.OPEN
    error: Exception | None = None
    answer: str = ""
    decided_at: float = 0.0
    is_unwanted: bool = False
    begun_at: float | None = None
    is_done: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    lane: str = NORMAL

    @property
    def received(self) -> Received:
        """The first delivery."""
        return self.leases[0].received

    @property
    def batch(self) -> BatchRef | None:
        """The batch it works for; None when the message could not be read."""
        return self.message.batch if self.message else None

    @property
    def is_suspect(self) -> bool:
        """Whether it was delivered before: it may have ended a process."""
        return self.received.is_suspect


def by_lane(leases: Iterable[Lease]) -> dict[str, list[Lease]]:
    """Part deliveries by the lane whose queue gave them."""
    parts: dict[str, list[Lease]] = {}
    for lease in leases:
        parts.setdefault(lease.lane, []).append(lease)
    return parts
