"""The dead-letter part of maintenance: mirror every DLQ, go on with redrives, tell what expires."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from embedpipe.ports import Database, DeadLetters, Outbox
from embedpipe.ports.sealing import Sealer
from embedpipe.stages.mirror import HasTime, mirror
from embedpipe.stages.redrive import Mover
from embedpipe.stages.requeue import Pace


@dataclass(frozen=True)
class DeadLetterParts:
    """What works on dead letters.

    Attributes
    ----------
    letters
        The DLQs by stage.
    request_s
        How long one request of an operator works on them.
    """

    letters: Mapping[str, DeadLetters]
    sealer: Sealer
    pace: Pace
    request_s: float = 10.0


def mirror_all(
    parts: DeadLetterParts,
    *,
    database: Database,
    queues: Mapping[str, Outbox],
    has_time: HasTime,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, int]:
    """Look after the DLQs of all stages; give what was done, by what it is.

    A DLQ that a redrive empties is not looked at: the redrive goes on instead. One that fails does
    not keep the others from their turn.

    Raises
    ------
    QueueUnavailableError, StoreUnavailableError
        What one of them failed with, after all others.
    """
    counts = dict.fromkeys(
        ("dlq_added", "dlq_gone", "dlq_put_back", "dlq_failed_jobs", "dlq_moved"), 0
    )
    failure: Exception | None = None
    for stage, dlq in parts.letters.items():
        try:
            redrive = database.redrives.newest(stage)
            if redrive is not None and redrive.is_open:
                mover = Mover(dlq, database, parts.sealer, queues, parts.pace, sleep)
                now = mover.advance(has_time)
                counts["dlq_moved"] += (now or redrive).moved - redrive.moved
                continue
            done = mirror(
                dlq, database=database, sealer=parts.sealer, has_time=has_time, is_resumed=True
            )
            counts["dlq_added"] += done.added
            counts["dlq_gone"] += done.gone + done.removed
            counts["dlq_put_back"] += done.put_back
            counts["dlq_failed_jobs"] += done.failed_jobs
        # Whatever it is, the other stages have their turn.
        except Exception as error:  # noqa: BLE001
            failure = error
    counts["dlq_gone"] += database.dlq_entries.remove_expired()
    counts["dlq_expiring"] = database.dlq_entries.expiring()
    if failure is not None:
        raise failure
    return counts
