"""Messages that were delivered before: one of them may have ended the process that worked on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary

from embedpipe.errors import ProcessDiedError, TransientError
from embedpipe.ports import CrashKey, CrashLedger

#: What this process could not take back yet, as the database was away.
_owed: WeakKeyDictionary[CrashLedger, set[CrashKey]] = WeakKeyDictionary()


@contextmanager
def on_trial(key: CrashKey, *, ledger: CrashLedger, max_deaths: int) -> Iterator[None]:
    """Work on a suspect: if the process dies meanwhile, the ledger has a death more.

    A death that cannot be taken back, since the database went away during the work, is taken back
    with the next suspect: nobody is to be given up for outages.

    Raises
    ------
    ProcessDiedError
        It has ended as many processes as it may; nothing was done.
    StoreUnavailableError
        The death could not be written down beforehand; nothing was done.
    """
    is_orderly = True
    _take_back(ledger)
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
            _owed.setdefault(ledger, set()).add(key)
            # What became of the message is known, and must not be lost over this.
            with suppress(TransientError):
                _take_back(ledger)


def _take_back(ledger: CrashLedger) -> None:
    owed = _owed.get(ledger, set())
    for key in list(owed):
        ledger.end([key])
        owed.discard(key)
