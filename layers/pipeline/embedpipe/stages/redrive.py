"""Redrive: everything in a DLQ goes back, by the backend's own task or by our paced mover."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from embedpipe.domain.audit import Act
from embedpipe.domain.dead_letters import EntryState, Worth, worth
from embedpipe.errors import ConflictError, TransientError
from embedpipe.messages import named_work
from embedpipe.ports import Database, DeadLetter, DeadLetters, Outbox, OutboxRow
from embedpipe.ports.dlq_entries import EntryFilter
from embedpipe.ports.redrives import Redrive
from embedpipe.ports.sealing import Sealer
from embedpipe.stages.mirror import HasTime, bare, mirror
from embedpipe.stages.relay import relay
from embedpipe.stages.requeue import Pace
from embedpipe.stages.submit import chunk_requested

#: How long a mover that died keeps others away.
LEASE_S = 15.0
#: How long what it had received stays hidden then.
VISIBILITY_S = 30
#: How long entries that are to stay are hidden from the mover.
_STAY_S = 300
_PAGE = 100
#: What is held at once: each may have a megabyte.
_MOST = 50
_STATUSES = frozenset({"running", "cancelling", "completed", "cancelled", "failed"})


@dataclass(frozen=True)
class Mover:
    """What the messages of a DLQ are moved with.

    Attributes
    ----------
    owner
        Names the mover; of several at once one moves.
    wait_s
        How long an empty receive waits.
    """

    letters: DeadLetters
    database: Database
    sealer: Sealer
    queues: Mapping[str, Outbox]
    pace: Pace
    sleep: Callable[[float], None] = time.sleep
    owner: str = field(default_factory=lambda: uuid4().hex)
    wait_s: float = 1.0

    def to_move(self) -> int:
        """Count what is in the DLQ and not to stay there."""
        stay = EntryFilter(stage=self.letters.stage, state=EntryState.IGNORED)
        return max(0, self.letters.depth().total - self.database.dlq_entries.count(stay))

    def start(self, max_per_second: int | None, act: Act) -> Redrive:
        """Begin a redrive, or give the one that goes on."""
        rate = max_per_second or self.pace.rate
        return self.database.redrives.start(
            self.letters.stage, max_per_second=rate, to_move=self.to_move(), act=act
        )

    def advance(self, has_time: HasTime) -> Redrive | None:
        """Go on with the redrive of the stage, as long as there is time; give how it stands.

        Nothing is lost whenever it is killed: a message is sent, then its entry marked, then it is
        deleted; another call goes on once the lease of the dead one is over.

        Raises
        ------
        QueueUnavailableError, StoreUnavailableError
            It goes on later.
        """
        redrives, stage = self.database.redrives, self.letters.stage
        redrive = redrives.lease(stage, self.owner, LEASE_S)
        if redrive is None:
            return redrives.newest(stage)
        try:
            if redrive.task_handle is not None:
                self._watch(redrive, has_time)
            elif redrive.status == "running":
                self._go_on(redrive, has_time)
            now = redrives.newest(stage)
            if now is not None and now.status == "cancelling" and now.task_handle is None:
                now = redrives.update(now, status="cancelled")
            return now
        finally:
            redrives.release(redrive, self.owner)

    def _go_on(self, redrive: Redrive, has_time: HasTime) -> None:
        stay = EntryFilter(stage=redrive.stage, state=EntryState.IGNORED)
        is_whole = redrive.moved == 0 and not self.database.dlq_entries.count(stay)
        # The backend's task ends without what somebody holds at the moment; ours comes again.
        if is_whole and not self.letters.depth().held and self.letters.has_move_tasks():
            self._hand_over(redrive, has_time)
        else:
            self._move(redrive, has_time)

    # By the backend

    def _hand_over(self, redrive: Redrive, has_time: HasTime) -> None:
        """Have the backend move all messages, once the jobs that failed wait for them."""
        looked = mirror(self.letters, database=self.database, sealer=self.sealer, has_time=has_time)
        if not looked.is_complete or not self._restart_known(redrive.stage, has_time):
            return
        now = self.database.redrives.lease(redrive.stage, self.owner, LEASE_S)
        if now is None or now.status != "running":
            # It took so long that another took over, or it was cancelled meanwhile.
            return
        try:
            handle = self.letters.start_move(redrive.max_per_second)
        except ConflictError as error:
            handle = self._begun_for(redrive)
            if not handle:
                self.database.redrives.update(redrive, status="failed", reason=error.message)
                return
        self.database.redrives.hand_over(redrive, self.owner, handle, self.to_move())
        self._watch(redrive, has_time)

    def _begun_for(self, redrive: Redrive) -> str:
        """Give the task that a mover began for a redrive, and died before it could say so."""
        task, began_s = self.letters.newest_move(), redrive.started_at.timestamp()
        return task.handle if task is not None and task.started_ms >= began_s * 1000 else ""

    def _restart_known(self, stage: str, has_time: HasTime) -> bool:
        """Restart the jobs of all entries that failed; False when the time was over before."""
        cursor = None
        while has_time():
            page = self.database.dlq_entries.list(
                EntryFilter(stage=stage), limit=_PAGE, cursor=cursor
            )
            self._restart(
                [
                    (entry.tenant_id, entry.job_id, entry.epoch)
                    for entry in page.items
                    if entry.tenant_id and entry.job_id and entry.epoch
                ]
            )
            cursor = page.cursor
            if cursor is None:
                return True
        return False

    def _watch(self, redrive: Redrive, has_time: HasTime) -> None:
        """Note how far the backend is, until it ends or the time is over."""
        redrives = self.database.redrives
        while True:
            now = redrives.newest(redrive.stage) or redrive
            if now.status == "cancelling" and now.task_handle:
                self.letters.cancel_move(now.task_handle)
            task = self.letters.newest_move()
            if task is None:
                redrives.update(now, status="failed", reason="the task is not known any more")
                return
            status = task.status.lower() if task.status.lower() in _STATUSES else "running"
            if status == "running" and now.status == "cancelling":
                status = "cancelling"
            now = redrives.update(now, status=status, moved=task.moved, reason=task.reason)
            if not now.is_open or not has_time():
                return
            redrives.lease(redrive.stage, self.owner, LEASE_S)
            self.sleep(min(1.0, self.wait_s))

    # By ourselves

    def _move(self, redrive: Redrive, has_time: HasTime) -> None:
        stays: list[DeadLetter] = []
        try:
            while has_time():
                found = self._received(redrive.max_per_second)
                if not found:
                    if min(self.to_move(), self.letters.depth().total - len(stays)) <= 0:
                        self.database.redrives.update(redrive, status="completed")
                    # Else the rest is in somebody's hands: whoever asks again goes on.
                    return
                states = self.database.dlq_entries.states(
                    redrive.stage, [letter.entry_id for letter in found]
                )
                go = self._sorted_out(redrive, found, states, stays)
                if not self._send(redrive, go):
                    return
        finally:
            self.letters.hide(stays, 0)

    def _received(self, max_per_second: int) -> list[DeadLetter]:
        """Receive what goes within a quarter of a second, in several calls."""
        most = max(10, min(_MOST, max_per_second // 4))
        found = self.letters.receive(wait_s=self.wait_s, visibility_s=VISIBILITY_S)
        while 0 < len(found) < most:
            more = self.letters.receive(
                max_messages=min(10, most - len(found)), wait_s=0, visibility_s=VISIBILITY_S
            )
            if not more:
                break
            found += more
        return found

    def _sorted_out(
        self,
        redrive: Redrive,
        found: Sequence[DeadLetter],
        states: Mapping[str, EntryState],
        stays: list[DeadLetter],
    ) -> list[DeadLetter]:
        """Give what is to go; what went before is deleted, what is to stay is hidden.

        What came after the redrive began stays: else what fails at once would go round for ever.
        """
        went = [one for one in found if states.get(one.entry_id) is EntryState.REQUEUED]
        stay = [
            one
            for one in found
            if states.get(one.entry_id) is EntryState.IGNORED or one.sent_at > redrive.started_at
        ]
        if went:
            self.letters.delete(went)
        if stay:
            self.letters.hide(stay, _STAY_S)
            stays += [bare(letter) for letter in stay]
        go = [one for one in found if one not in went and one not in stay]
        # Not for what went before: nothing would follow to begin the job with.
        named = [named_work(one.received.body)[0] for one in go]
        self._restart([(ref.tenant_id, ref.job_id, ref.epoch) for ref in named if ref])
        return go

    def _send(self, redrive: Redrive, go: list[DeadLetter]) -> bool:
        """Send messages back at the pace; False when another took over or it was cancelled."""
        pace = self.pace.of(redrive.max_per_second)
        while go:
            grant = self.database.requeues.grant(
                redrive.stage, len(go), rate=pace.rate, burst=pace.burst
            )
            if not grant.granted:
                self.sleep(min(grant.wait_s, LEASE_S / 3))
                # Renewed while it waits; what takes longer than the message is hidden comes again.
                if self.database.redrives.progress(redrive, self.owner, [], LEASE_S):
                    continue
                return False
            batch, go = go[: grant.granted], go[grant.granted :]
            accepted = self.letters.send_back(batch)
            moved = [letter.entry_id for letter in accepted]
            if not self.database.redrives.progress(redrive, self.owner, moved, LEASE_S):
                return False
            self.letters.delete(accepted)
        return True

    def _restart(self, named: Sequence[tuple[str, str, int]]) -> None:
        """Open a new epoch for the jobs that failed, and send what they begin with."""
        stage = self.letters.stage
        jobs = self.database.dlq_entries.jobs([(tenant, job) for tenant, job, _ in named])
        rows: list[OutboxRow] = []
        for tenant_id, job_id, epoch in named:
            job = jobs.get((tenant_id, job_id))
            if job is None or worth(stage, job_id, epoch, job) is not Worth.RESTART:
                continue
            row = self.database.requeues.restart(stage, epoch, job, chunk_requested)
            rows += [row] if row else []
        try:
            relay(rows, outbox=self.database.outbox, queues=self.queues)
        except TransientError:
            # They are committed; the sweep sends them.
            return
