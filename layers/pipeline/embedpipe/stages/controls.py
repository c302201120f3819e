"""What stages are let do, as those see it who work: read often, and kept for a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from threading import Lock

from embedpipe.domain.controls import (
    CONTROLLED,
    STAGES,
    Closed,
    Control,
    StageState,
    admission,
    drained,
)
from embedpipe.domain.lanes import QUEUES as EMBED_QUEUES
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import AdmissionClosedError, PipelineError, StoreUnavailableError
from embedpipe.ports import Controls, EventSources, Inbox, Outbox, Received

#: How long a state is kept: so long at most it takes until everybody knows of an act.
KEPT_S = 2.0
#: How long a message that came all the same is hidden.
HANDED_BACK_S = 60.0
#: When who was not admitted may come again.
COME_AGAIN_S = 30.0

_QUEUES = {"chunk": ("chunk",), "embed": tuple(EMBED_QUEUES.values()), "store": ("store",)}
_CLOSED = {
    Closed.PAUSED: "Nothing is admitted while the door is paused; search and reading go on.",
    Closed.DRAINING: "Nothing is admitted while a stage runs empty; search and reading go on.",
}


class ControlReader:
    """The states of all stages, read at most every two seconds.

    While the database is away the last known state holds: an outage pauses nothing and resumes
    nothing. Threads may share it.
    """

    def __init__(
        self,
        controls: Controls,
        *,
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controls = controls
        self._kept_s = kept_s
        self._clock = clock
        self._lock = Lock()
        self._states: dict[str, StageState] = {}
        self._read_at: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether the states could be read at all."""
        return bool(self._states)

    def refresh(self) -> None:
        """Read the states. Raises StoreUnavailableError."""
        with self._lock:
            self._refresh()

    def state(self, stage: str) -> StageState:
        """Give a stage's state; running, as long as nobody could be asked."""
        return self._current().get(stage, StageState.RUNNING)

    def is_paused(self, stage: str) -> bool:
        """Say whether a stage is to receive nothing."""
        return self.state(stage) is StageState.PAUSED

    def check_admission(self) -> None:
        """Raise AdmissionClosedError (PAUSED, DRAINING) while nothing is admitted."""
        closed = admission(self._current().items())
        if closed is not None:
            raise AdmissionClosedError(_CLOSED[closed], code=closed, retry_after_s=COME_AGAIN_S)

    def _current(self) -> Mapping[str, StageState]:
        with self._lock:
            if self._read_at is None or self._clock() - self._read_at >= self._kept_s:
                with suppress(StoreUnavailableError):
                    self._refresh()
            return self._states

    def _refresh(self) -> None:
        try:
            self._states = self._controls.states()
        finally:
            # From the end on: a database that is away is not asked all the time.
            self._read_at = self._clock()


def hand_back(received: Sequence[Received], inbox: Inbox, policy: RetryPolicy) -> list[str]:
    """Hide messages that came while their stage is paused; give the ids of all of them.

    The second line of defence, behind the event source mapping: it spends receives, of which a
    message has few, and so waits grow with them as in an outage.

    Returns
    -------
    What is not done, for the answer to Lambda.
    """
    for one in received:
        with suppress(PipelineError):
            # Otherwise it comes back when its visibility timeout is over.
            inbox.retry(one, max(HANDED_BACK_S, policy.outage_delay_s(one.receive_count)))
    return [one.message_id for one in received]


def align(stage: str, controls: Controls, event_sources: EventSources) -> bool:
    """Have a stage's queue received from as its control says, and look again whether it still does.

    Of two operators at once the one whose act was committed last wins here, too.

    Returns
    -------
    False for a stage without an event source mapping.

    Raises
    ------
    EventSourceError, StoreUnavailableError
        It may not be as the control says; the guard in the consumer holds meanwhile.
    """
    is_enabled = None
    while (wanted := controls.states().get(stage) is not StageState.PAUSED) is not is_enabled:
        is_enabled = wanted
        if not event_sources.set_enabled(stage, is_enabled):
            return False
    return True


def misaligned(controls: Controls, event_sources: EventSources) -> list[str]:
    """Name the stages whose event source mapping is not as their control says.

    Raises
    ------
    EventSourceError, StoreUnavailableError
        That cannot be said now.
    """
    wanted, found = controls.states(), event_sources.states()
    return [
        stage
        for stage in STAGES
        if stage in found
        and (wanted.get(stage) is StageState.PAUSED) == (found[stage] in ("Enabled", "Enabling"))
    ]


def align_all(controls: Controls, event_sources: EventSources) -> int:
    """Switch what is not as its control says: whoever set that may have died before; say how many.

    Raises
    ------
    EventSourceError, StoreUnavailableError
        Some may be left for the next time.
    """
    return sum(
        align(stage, controls, event_sources) for stage in misaligned(controls, event_sources)
    )


def drained_stages(
    found: Collection[Control], controls: Controls, queues: Mapping[str, Outbox]
) -> set[str]:
    """Name the draining stages that have run empty: queues, outbox and jobs, theirs and before.

    Queues count only about: what has been empty twice, a minute apart, is. Jobs are exact.

    Parameters
    ----------
    queues
        By name in the outbox. They are asked only when the database knows of no work.

    Raises
    ------
    StoreUnavailableError, QueueUnavailableError
        That cannot be said now.
    """
    busy = set(controls.with_work())
    candidates = drained(found, busy)
    if not candidates:
        return candidates
    last = max(CONTROLLED.index(stage) for stage in candidates)
    busy |= {
        stage
        for stage in STAGES[:last]
        if any(queue.backlog() for queue in {queues[name] for name in _QUEUES[stage]})
    }
    return drained(found, busy)
