"""Messages that were delivered before: one of them may have ended the process that worked on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Condition
from typing import TypeVar

from embedpipe.errors import ProcessDiedError, TransientError
from embedpipe.ports import CrashKey
from embedpipe.worker.buffer import InferenceBatch, Trial
from embedpipe.worker.context import Context

T = TypeVar("T")


class Trials:
    """Has suspects computed one after another, each written down in the crash ledger meanwhile.

    So a process that dies leaves one death behind, with the suspect that it worked on. One that has
    a death already waits until no other suspect does, and is computed with nothing beside it; one
    that has too many is not computed any more. While the database is away suspects wait, and
    everything else goes on.

    Parameters
    ----------
    fail
        Ends the message of a batch with an error, instead of computing it.
    put_back
        Lets a batch wait until no other suspect does; False when none does.
    """

    def __init__(
        self,
        context: Context,
        fail: Callable[[InferenceBatch, Exception], None],
        put_back: Callable[[InferenceBatch], bool],
    ) -> None:
        self._ledger = context.ports.ledger
        self._max_deaths = context.ports.policy.max_deaths
        self._buffer = context.buffer
        self._counters = context.counters
        self._outage = context.outages.ledger
        self._stop = context.stop
        self._fail, self._put_back = fail, put_back
        self._batch: InferenceBatch | None = None
        self._trial: Trial | None = None
        self._is_given_up = self._is_closed = False
        self._changed = Condition()

    @property
    def is_on(self) -> bool:
        """Whether there is a ledger."""
        return self._ledger is not None

    def has_room(self) -> bool:
        """Say whether `put` may be called."""
        return self._batch is None or self._is_given_up

    def put(self, batch: InferenceBatch) -> None:
        """Hand a suspect's batch to the thread that runs `loop`; only while there is room."""
        with self._changed:
            self._batch = batch
            self._changed.notify_all()

    def loop(self, lay: Callable[[InferenceBatch], None]) -> None:
        """Begin what is put, until `close`.

        Parameters
        ----------
        lay
            Has a batch computed, here or in another thread.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batch is not None or self._is_closed)
                batch = self._batch
            if batch is None:
                return
            self.run(batch, lay)
            with self._changed:
                self._batch = None
                self._changed.notify_all()
            self._buffer.wake()

    def run(self, batch: InferenceBatch, lay: Callable[[InferenceBatch], None]) -> None:
        """Have a suspect's batch computed, and come back when it is over."""
        ledger, message = self._ledger, batch.chunks[0].message.held.message
        if ledger is None or message is None:
            lay(batch)
            return
        key = CrashKey(message.ref, "embed", message.batch_no)
        try:
            deaths = self._patiently(lambda: ledger.begin([key]))
            if deaths is not None and self._tried(batch, deaths[key], lay):
                self._patiently(lambda: ledger.end([key]), is_last=True)
        # A bug of ours: it is settled as one, with backoff.
        except Exception as error:  # noqa: BLE001
            self._fail(batch, error)

    def close(self) -> None:
        """End the loop, once what was put is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._batch is None or self._is_given_up)
            self._is_closed = True
            self._changed.notify_all()

    def give_up(self) -> None:
        """Wait for nothing more: whatever is being computed is handed back."""
        with self._changed:
            self._is_given_up = True
            if self._trial is not None:
                self._trial.over.set()
            self._changed.notify_all()
        self._buffer.wake()

    def _tried(
        self, batch: InferenceBatch, deaths: int, lay: Callable[[InferenceBatch], None]
    ) -> bool:
        """Say whether it went its orderly way, whatever that was."""
        if deaths >= self._max_deaths:
            self._fail(batch, ProcessDiedError())
            return True
        if deaths and self._put_back(batch):
            return True
        trial = Trial(is_exclusive=deaths > 0)
        with self._changed:
            if self._is_given_up:
                return True
            self._trial = trial
        self._counters.add(suspects=1)
        lay(replace(batch, trial=trial))
        trial.over.wait()
        return not trial.is_fatal

    def _patiently(self, call: Callable[[], T], *, is_last: bool = False) -> T | None:
        """Call until it works; None when the worker stops. `is_last` is tried even then, once."""
        while is_last or not self._stop.is_set():
            try:
                result = call()
            except TransientError as error:
                if self._stop.wait(self._outage.failed(error)):
                    return None
            else:
                self._outage.answered()
                return result
        return None
