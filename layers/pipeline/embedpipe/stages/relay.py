"""Send what was committed: outbox rows to their queues, right after the commit or by the sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from embedpipe.errors import StoreUnavailableError
from embedpipe.ports import Outbox, OutboxRow, OutboxRows, Outgoing


def relay(rows: Sequence[OutboxRow], *, outbox: OutboxRows, queues: Mapping[str, Outbox]) -> int:
    """Send rows and remove those that their queue accepted.

    A row that is sent and not removed is sent again later: receivers are idempotent. A queue that
    fails does not keep the rows of the others.

    Returns
    -------
    How many rows were accepted.

    Raises
    ------
    QueueUnavailableError, StoreUnavailableError
        The rest stays in the outbox, and the sweep sends it.
    """
    by_queue: dict[str, list[OutboxRow]] = defaultdict(list)
    for row in rows:
        by_queue[row.queue].append(row)
    accepted: list[OutboxRow] = []
    failure: Exception | None = None
    for queue, group in by_queue.items():
        try:
            accepted += _send(group, queues[queue])
        # Whatever it is, the other queues go first.
        except Exception as error:  # noqa: BLE001
            failure = error
    if accepted:
        outbox.sent(accepted)
    if failure is not None:
        raise failure
    return len(accepted)


def _send(rows: Sequence[OutboxRow], queue: Outbox) -> list[OutboxRow]:
    named = {f"{row.tenant_id}/{row.key}": row for row in rows}
    keys = queue.send(
        [Outgoing(key, row.body, group_id=row.tenant_id) for key, row in named.items()]
    )
    return [named[key] for key in keys]


def sweep(
    *,
    outbox: OutboxRows,
    queues: Mapping[str, Outbox],
    limit: int = 1000,
    page: int = 100,
    has_time: Callable[[], bool] = lambda: True,
) -> int:
    """Send rows that nobody sent in time, oldest first; give how many were accepted.

    Rows of a queue that failed once are left for a later sweep, and do not hold up the others.

    Raises
    ------
    Exception
        What a queue failed with, after all others' rows are sent.
    """
    total = claimed = 0
    working, failure = dict(queues), None
    while (
        claimed < limit and has_time() and (rows := outbox.claim(limit=min(page, limit - claimed)))
    ):
        claimed += len(rows)
        for name in {row.queue for row in rows} & working.keys():
            of_queue = [row for row in rows if row.queue == name]
            try:
                total += relay(of_queue, outbox=outbox, queues=working)
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001
                failure = error
                del working[name]
    if failure is not None:
        raise failure
    return total
