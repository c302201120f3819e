"""Orphans: texts in the object store that no version of a document names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from embedpipe.ports import Blobs, Housekeeping
from embedpipe.stages.submit import DOCUMENTS_PREFIX

_NAME = "orphans"


def remove_orphans(
    *,
    housekeeping: Housekeeping,
    blobs: Blobs,
    grace_s: float,
    interval_s: float,
    has_time: Callable[[], bool] = lambda: True,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    page: int = 1000,
) -> int:
    """Remove texts of documents that nothing names, page by page; give how many.

    A text is put before its version is committed, and never put again under its key: one that is
    older than `grace_s` and has no version will get none. What there is no time for is left to the
    next run, which goes on at the page where this one stopped.

    Parameters
    ----------
    grace_s
        Far more than an admission takes, and clocks may differ by.
    interval_s
        How often to go through all of them.

    Raises
    ------
    BlobsUnavailableError, StoreUnavailableError
        The rest is left to the next run.
    """
    begun = housekeeping.begin(_NAME, interval_s)
    if begun is None:
        return 0
    # No key is as short as the prefix: all come after it. An empty cursor would mean the end.
    after, removed, is_last = begun or DOCUMENTS_PREFIX, 0, False
    while not is_last and has_time():
        listed = blobs.list(DOCUMENTS_PREFIX, after=after, limit=page)
        before = now() - timedelta(seconds=grace_s)
        unnamed = housekeeping.unnamed([blob.uri for blob in listed if blob.changed_at < before])
        is_last = len(listed) < page
        for blob in listed:
            if not has_time():
                is_last = False
                break
            if blob.uri in unnamed:
                blobs.delete(blob.uri)
                removed += 1
            after = blob.key
        housekeeping.save(_NAME, "" if is_last else after)
    return removed
