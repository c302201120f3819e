"""Send what was committed: outbox rows to their queues, right after the commit or by the sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from embedpipe.ports import Outbox, OutboxRow, OutboxRows, Outgoing


def relay(rows: Sequence[OutboxRow], *, outbox: OutboxRows, queues: Mapping[str, Outbox]) -> int:
    """Send rows and remove those that their queue accepted.

    A row that is sent and not removed is sent again later: receivers are idempotent.

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
    try:
        for queue, group in by_queue.items():
            named = {f"{row.tenant_id}/{row.key}": row for row in group}
            keys = queues[queue].send(
                [Outgoing(key, row.body, group_id=row.tenant_id) for key, row in named.items()]
            )
            accepted += [named[key] for key in keys]
    finally:
        if accepted:
            outbox.sent(accepted)
    return len(accepted)


def sweep(
    *, outbox: OutboxRows, queues: Mapping[str, Outbox], limit: int = 1000, page: int = 100
) -> int:
    """Send rows that nobody sent in time, oldest first; give how many were accepted."""
    total = 0
    while total < limit:
        rows = outbox.claim(limit=min(page, limit - total))
        if not rows:
            break
        total += relay(rows, outbox=outbox, queues=queues)
    return total
