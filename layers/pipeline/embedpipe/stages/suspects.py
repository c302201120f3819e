"""Messages that were delivered before: one of them may have ended the process that worked on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from embedpipe.errors import ProcessDiedError, TransientError
from embedpipe.ports import CrashKey, CrashLedger


@contextmanager
def on_trial(key: CrashKey, *, ledger: CrashLedger, max_deaths: int) -> Iterator[None]:
    """Work on a suspect: if the process dies meanwhile, the ledger has a death more.

    Raises
    ------
    ProcessDiedError
        It has ended as many processes as it may; nothing was done.
    StoreUnavailableError
        The death could not be written down beforehand; nothing was done.
    """
    is_orderly = True
    deaths = ledger.begin([key])[key]
    try:
        if deaths >= max_deaths:
            raise ProcessDiedError
        yield
    except (KeyboardInterrupt, SystemExit):
        is_orderly = False
        raise
    finally:
        if is_orderly:
            # What became of the message is known, and must not be lost over this.
            with suppress(TransientError):
                ledger.end([key])
