"""Compaction: the chunks and vectors of documents that were deleted long ago."""

from __future__ import annotations

from collections.abc import Callable

from embedpipe.ports import Compacted, Housekeeping

_NAME = "compactor"
#: Documents that one transaction hides.
_PAGE = 100


def compact(
    *,
    housekeeping: Housekeeping,
    grace_s: float,
    interval_s: float,
    has_time: Callable[[], bool] = lambda: True,
    rows: int = 1000,
) -> Compacted:
    """Remove what nobody sees, in short transactions; give what was removed.

    First such documents lose their visible version, so that a restore shows all of one or nothing;
    then the chunks go, and vectors with them. What there is no time for is left to the next run.

    Parameters
    ----------
    grace_s
        How long a deleted document can be restored with everything in it.
    interval_s
        How often to look for more; work that was left over is gone on with at once.
    rows
        Chunks that one transaction removes, at most.

    Raises
    ------
    StoreUnavailableError
        The rest is left to the next run.
    """
    if housekeeping.begin(_NAME, interval_s) is None:
        return Compacted()
    documents = chunks = 0
    hidden, last = _PAGE, Compacted(1, 0)
    while has_time() and (hidden == _PAGE or last != Compacted()):
        if hidden == _PAGE:
            hidden = housekeeping.hide_deleted(grace_s=grace_s, limit=_PAGE)
        last = housekeeping.remove_hidden(limit=rows)
        documents, chunks = documents + last.documents, chunks + last.chunks
    is_over = hidden < _PAGE and last == Compacted()
    housekeeping.save(_NAME, "" if is_over else "unfinished")
    return Compacted(documents, chunks)
