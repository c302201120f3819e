"""Requeue: put entries back that an operator approved, at the pace that was asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EntryState
from embedpipe.errors import ConflictError, NotFoundError, TransientError
from embedpipe.ports import Database, DeadLetter, DeadLetters, Outbox, OutboxRow
from embedpipe.ports.dlq_entries import Entry, EntryFilter
from embedpipe.ports.requeues import Grant
from embedpipe.ports.sealing import Place, Sealer
from embedpipe.stages.mirror import HasTime, bare
from embedpipe.stages.relay import relay
from embedpipe.stages.submit import chunk_requested

_PAGE = 50
_LOOK_S = 30


@dataclass(frozen=True)
class Pace:
    """How fast entries go back: so many a second, and so many at once after a rest."""

    rate: int
    burst: int

    def of(self, max_per_second: int | None) -> Pace:
        """Give the pace that a request asks for; a quarter of a second's worth goes at once."""
        if max_per_second is None or max_per_second == self.rate:
            return self
        return Pace(max_per_second, max(1, max_per_second // 4))


@dataclass
class Requeued:
    """What a requeue came to.

    Attributes
    ----------
    refused
        Codes by entry. Their approval is withdrawn: they cannot be put back as things are.
    remaining
        How many approved ones are left that were asked for.
    retry_after_s
        When the next of them may go.
    """

    matched: int = 0
    requeued: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    remaining: int = 0
    retry_after_s: int = 0


@dataclass(frozen=True)
class Requeue:
    """What entries of a DLQ are put back with."""

    letters: DeadLetters
    database: Database
    sealer: Sealer
    queues: Mapping[str, Outbox]
    pace: Pace
    sleep: Callable[[float], None] = time.sleep

    def one(self, entry_id: str, act: Act, *, keeps: bool, is_dry: bool) -> Requeued:
        """Put one entry back.

        Raises
        ------
        NotFoundError, ConflictError
            Why it cannot be put back.
        """
        entry = self.database.dlq_entries.get(self.letters.stage, entry_id)
        if is_dry:
            self.database.requeues.check(entry)
            return Requeued(matched=1, remaining=1)
        grant = self._grant(1)
        if not grant.granted:
            return Requeued(matched=1, remaining=1, retry_after_s=math.ceil(grant.wait_s))
        self._send([self._requeue(entry, act, keeps=keeps)])
        if not keeps:
            self._remove({entry_id}, lambda: True)
        return Requeued(matched=1, requeued=1)

    def matching(
        self, wanted: EntryFilter, act: Act, *, keeps: bool, limit: int, has_time: HasTime
    ) -> Requeued:
        """Put approved entries back, as many as there are time and leave for."""
        wanted = self._approved(wanted)
        entries = self.database.dlq_entries
        done = Requeued(matched=entries.count(wanted))
        gone: set[str] = set()
        while done.requeued + len(done.refused) < limit and has_time():
            left = limit - done.requeued - len(done.refused)
            page = entries.list(wanted, limit=min(_PAGE, left)).items
            if not page:
                break
            grant = self._grant(len(page))
            if not grant.granted:
                done.retry_after_s = math.ceil(grant.wait_s)
                # One that is due within the second is waited for; else the caller comes back.
                if grant.wait_s > 1:
                    break
                self.sleep(grant.wait_s)
                continue
            self._page(page[: grant.granted], act, done, gone, keeps=keeps)
        done.remaining = entries.count(wanted)
        if gone and not keeps:
            self._remove(gone, has_time)
        return done

    def try_out(self, wanted: EntryFilter, *, limit: int, has_time: HasTime) -> Requeued:
        """Say what `matching` would do, and change nothing."""
        wanted = self._approved(wanted)
        done = Requeued(matched=self.database.dlq_entries.count(wanted))
        cursor, tried = None, 0
        while tried < limit and has_time():
            page = self.database.dlq_entries.list(
                wanted, limit=min(_PAGE, limit - tried), cursor=cursor
            )
            for entry in page.items:
                try:
                    self.database.requeues.check(entry)
                except (ConflictError, NotFoundError) as error:
                    done.refused[entry.entry_id] = error.code
            tried += len(page.items)
            cursor = page.cursor
            if cursor is None:
                break
        done.remaining = done.matched - len(done.refused)
        return done

    def _approved(self, wanted: EntryFilter) -> EntryFilter:
        return replace(wanted, stage=self.letters.stage, state=EntryState.APPROVED)

    def _page(
        self, page: Sequence[Entry], act: Act, done: Requeued, gone: set[str], *, keeps: bool
    ) -> None:
        rows = []
        for entry in page:
            try:
                rows.append(self._requeue(entry, act, keeps=keeps))
            except (ConflictError, NotFoundError) as error:
                done.refused[entry.entry_id] = error.code
                self.database.dlq_entries.withdraw(entry.stage, entry.entry_id)
            else:
                done.requeued += 1
                gone.add(entry.entry_id)
        self._send(rows)

    def _requeue(self, entry: Entry, act: Act, *, keeps: bool) -> OutboxRow:
        return self.database.requeues.requeue(
            entry,
            replace(act, subject=f"{entry.stage}/{entry.entry_id}"),
            opened=self._opened,
            fresh=chunk_requested,
            keeps=keeps,
        )

    def _opened(self, entry: Entry, body: bytes) -> str:
        place = Place(entry.stage, entry.entry_id, entry.tenant_id or "")
        return self.sealer.open(body, place, entry.key_id).decode("utf-8", "surrogatepass")

    def _grant(self, wanted: int) -> Grant:
        return self.database.requeues.grant(
            self.letters.stage, wanted, rate=self.pace.rate, burst=self.pace.burst
        )

    def _send(self, rows: Sequence[OutboxRow]) -> None:
        try:
            relay(rows, outbox=self.database.outbox, queues=self.queues)
        except TransientError:
            # They are committed; the sweep sends them.
            return

    def _remove(self, entry_ids: set[str], has_time: HasTime) -> None:
        """Remove messages that were put back, if they are soon found; the mirror finds the rest."""
        wanted = set(entry_ids)
        held: list[DeadLetter] = []
        try:
            while wanted and len(held) < 10 * _PAGE and has_time():
                found = self.letters.receive(visibility_s=_LOOK_S, wait_s=0)
                if not found:
                    break
                ours = [letter for letter in found if letter.entry_id in wanted]
                held += [bare(letter) for letter in found if letter.entry_id not in wanted]
                self._delete(ours)
                wanted -= {letter.entry_id for letter in ours}
            self.letters.hide(held, 0)
        except TransientError:
            return

    def _delete(self, letters: Sequence[DeadLetter]) -> None:
        kept = {letter.entry_id for letter in self.letters.delete(letters)}
        gone = [letter.entry_id for letter in letters if letter.entry_id not in kept]
        self.database.dlq_entries.forget(self.letters.stage, gone)
