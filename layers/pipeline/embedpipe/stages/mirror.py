"""Mirror a dead-letter queue: what lies there, what is gone, and what it means for the jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from embedpipe.domain.dead_letters import (
    MAX_PUT_BACK,
    PUT_BACK,
    REASON,
    RETENTION,
    EntryState,
    JobState,
)
from embedpipe.domain.jobs import JobError, JobRef
from embedpipe.domain.redaction import preview
from embedpipe.messages import named_work
from embedpipe.ports import Database, DeadLetter, DeadLetters
from embedpipe.ports.dlq_entries import NewEntry, Seen
from embedpipe.ports.sealing import Place, Sealer

HasTime = Callable[[], bool]

#: How long a message stays hidden while it is looked at: this long if the process dies meanwhile.
_LOOK_S = 120
#: How long one stays hidden when a scan goes on in another run, so that this sees the others.
_SCAN_S = 600
_MAX_CODE = 64
_MAX_ATTRIBUTE = 256
RECEIVES_SPENT = "RECEIVES_SPENT"
_SPENT = JobError(
    RECEIVES_SPENT, "transient", "its message was received again and again, and never settled"
)


@dataclass
class Mirrored:
    """What a look at a DLQ came to.

    Attributes
    ----------
    is_complete
        Whether all of it was seen, or nothing had changed.
    """

    added: int = 0
    gone: int = 0
    put_back: int = 0
    failed_jobs: int = 0
    removed: int = 0
    is_complete: bool = True


@dataclass
class _Page:
    """What becomes of the messages of one receive."""

    added: list[NewEntry] = field(default_factory=list)
    put_back: list[DeadLetter] = field(default_factory=list)
    removed: list[DeadLetter] = field(default_factory=list)
    failed_jobs: int = 0


def mirror(
    letters: DeadLetters,
    *,
    database: Database,
    sealer: Sealer,
    has_time: HasTime,
    is_resumed: bool = False,
    wait_s: float = 1.0,
) -> Mirrored:
    """Look at what lies in a DLQ, unless the mirror shows it as it is.

    New entries are added, quarantined. Those that an operator had put back leave the queue. The
    job of one with a reason fails, if a crash kept it from failing. One without a reason says only
    that its receives were spent: it goes back, a few times, and then its job fails.

    Parameters
    ----------
    is_resumed
        Whether another call goes on where the time of this one ends: what was seen then stays
        hidden for some minutes.
    wait_s
        How long an empty receive waits; SQS answers a short one from a part of its servers.

    Raises
    ------
    QueueUnavailableError, StoreUnavailableError
        What was seen is visible again after two minutes.
    """
    entries, stage = database.dlq_entries, letters.stage
    known, depth = entries.known(stage), letters.depth()
    if depth.total == known.entries and not known.requeued and not known.is_stale:
        return Mirrored()
    began = entries.scan_began(stage, _SCAN_S)
    done = Mirrored(is_complete=depth.total == 0)
    held: list[DeadLetter] = []
    while not done.is_complete and has_time():
        found = letters.receive(visibility_s=_LOOK_S, wait_s=wait_s)
        if not found:
            done.is_complete = True
            break
        page = _looked_at(found, letters, database, sealer)
        gone = {letter.entry_id for letter in (*page.put_back, *page.removed)}
        held += [bare(letter) for letter in found if letter.entry_id not in gone]
        done.added += len(page.added)
        done.put_back += len(page.put_back)
        done.removed += len(page.removed)
        done.failed_jobs += page.failed_jobs
    if done.is_complete:
        done.gone = entries.end_scan(stage, began, letters.depth().total)
    letters.hide(held, 0 if done.is_complete or not is_resumed else _SCAN_S)
    return done


def bare(letter: DeadLetter) -> DeadLetter:
    """Give a delivery without what it carries, to hold many of them."""
    return replace(letter, received=replace(letter.received, body="", attributes={}), wire={})


def _looked_at(
    found: Sequence[DeadLetter], letters: DeadLetters, database: Database, sealer: Sealer
) -> _Page:
    entries, stage = database.dlq_entries, letters.stage
    named = {letter.entry_id: named_work(letter.received.body) for letter in found}
    jobs = entries.jobs(list(_keys(ref for ref, _ in named.values())))
    seen = entries.seen(stage, {letter.entry_id: letter.received.receive_count for letter in found})
    page = _Page()
    for letter in found:
        ref, batch_no = named[letter.entry_id]
        job = jobs.get((ref.tenant_id, ref.job_id)) if ref else None
        before = seen.get(letter.entry_id)
        if before is not None and before.state is EntryState.REQUEUED:
            page.removed.append(letter)
            continue
        error = _failure(letter, stage, ref, job, before)
        if error is _PUT_IT_BACK:
            page.put_back.append(letter)
            continue
        if error is not None and ref is not None:
            page.failed_jobs += database.jobs.fail(ref, error)
        if before is None:
            page.added.append(_entry(letter, stage, ref, batch_no, job, error, sealer))
    entries.add(page.added)
    page.put_back = letters.send_back(page.put_back, counts=True)
    leave = [*page.put_back, *page.removed]
    if leave:
        kept = {letter.entry_id for letter in letters.delete(leave)}
        entries.forget(stage, [one.entry_id for one in leave if one.entry_id not in kept])
    return page


_PUT_IT_BACK = JobError("", "", "")


def _failure(
    letter: DeadLetter, stage: str, ref: JobRef | None, job: JobState | None, before: Seen | None
) -> JobError | None:
    """Say what the job of a dead letter fails with, if it has to; or that the letter goes back.

    An operator's decision is left alone.
    """
    if ref is None or job is None or job.status.is_terminal:
        return None
    if before is not None and before.is_decided:
        return None
    if letter.error_code is None:
        if not job.is_of(stage, ref.epoch):
            return None
        return _PUT_IT_BACK if letter.put_back < MAX_PUT_BACK else _SPENT
    # Not one that a requeue put back before: its job is in a later epoch.
    if job.ref.epoch != ref.epoch:
        return None
    return JobError(_code(letter) or "", _kind(letter) or "permanent", "see the dead letter")


def _entry(
    letter: DeadLetter,
    stage: str,
    ref: JobRef | None,
    batch_no: int | None,
    job: JobState | None,
    error: JobError | None,
    sealer: Sealer,
) -> NewEntry:
    received = letter.received
    body = received.body.encode("utf-8", "surrogatepass")
    tenant_id = job.ref.tenant_id if job else None
    place = Place(stage, letter.entry_id, tenant_id or "")
    shown = None
    if sealer.key_id is not None:
        text = json.dumps(preview(received.body), separators=(",", ":"))
        shown = sealer.seal(text.encode(), replace(place, part="preview"))
    return NewEntry(
        stage=stage,
        entry_id=letter.entry_id,
        source_queue=letter.source_queue,
        tenant_id=tenant_id,
        job_id=ref.job_id if ref else None,
        epoch=ref.epoch if ref else None,
        batch_no=batch_no,
        error_code=_code(letter) or (error.code if error else None),
        failure_type=_kind(letter) or (error.failure_type if error else None),
        attributes={
            name: received.attributes[name][:_MAX_ATTRIBUTE]
            for name in (*REASON, PUT_BACK)
            if name in received.attributes
        },
        body=sealer.seal(body, place),
        preview=shown,
        body_bytes=len(body),
        body_sha256=hashlib.sha256(body).hexdigest(),
        key_id=sealer.key_id,
        receive_count=received.receive_count,
        put_back=letter.put_back,
        sent_at=letter.sent_at,
        expires_at=letter.sent_at + RETENTION,
    )


def _code(letter: DeadLetter) -> str | None:
    return letter.error_code[:_MAX_CODE] if letter.error_code else None


def _kind(letter: DeadLetter) -> str | None:
    kind = letter.received.attributes.get("failure_type")
    return kind if kind in ("transient", "permanent") else None


def _keys(refs: Iterable[JobRef | None]) -> set[tuple[str, str]]:
    return {(ref.tenant_id, ref.job_id) for ref in refs if ref is not None}
