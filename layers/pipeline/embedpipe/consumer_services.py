"""What an entry point that consumes a queue is wired with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from embedpipe import telemetry
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import PipelineError, error_code
from embedpipe.ports import Blobs, Database, Inbox, Outbox, OutboxRow, OutboxRows
from embedpipe.stages.controls import ControlReader
from embedpipe.stages.relay import relay


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


def time_left(context: Any, reserve_s: float) -> Callable[[], bool]:
    """Make a question of it whether a record more can be worked on before the invocation is killed.

    More than the reserve must be left, and more than the slowest record took so far: what waits for
    something that does not answer takes longer than any work, and is not to blame when the process
    ends over it.
    """
    left_ms = context.get_remaining_time_in_millis()
    needed_ms = 1000 * reserve_s

    def has_time() -> bool:
        nonlocal left_ms, needed_ms
        before_ms, left_ms = left_ms, context.get_remaining_time_in_millis()
        needed_ms = max(needed_ms, before_ms - left_ms)
        return bool(left_ms > needed_ms)

    return has_time


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
