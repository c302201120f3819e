"""Dead letters: list them, decide about them, put them back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from embedpipe.api.answers import Listing
from embedpipe.api.dead_letter_models import (
    DlqCancelRequest,
    DlqEntryAnswer,
    DlqLooked,
    DlqQuery,
    DlqRedriveAnswer,
    DlqRedriveQuery,
    DlqRedriveRequest,
    DlqRefreshAnswer,
    DlqRefreshRequest,
    DlqRequeueAnswer,
    DlqRequeueRequest,
    DlqStateRequest,
)
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.domain.dead_letters import EntryState
from embedpipe.errors import ConflictError, NotFoundError, QueueUnavailableError, RequestError
from embedpipe.ports.dlq_entries import Entry, EntryFilter
from embedpipe.ports.redrives import Redrive
from embedpipe.ports.sealing import Place
from embedpipe.stages.dead_letters import DeadLetterParts
from embedpipe.stages.mirror import mirror
from embedpipe.stages.redrive import Mover
from embedpipe.stages.requeue import Requeue

dlq = Noun("dead letters")


@dlq.get(
    "/embeddings/dlq",
    "List dead letters",
    query=DlqQuery,
    answer=Listing[DlqEntryAnswer],
    is_for_admins=True,
)
def list_dead_letters(call: Call, query: DlqQuery) -> Reply:
    """List the entries of all dead-letter queues, of all tenants, newest first."""
    wanted = EntryFilter(
        stage=query.stage,
        job_id=query.job_id,
        error_code=query.error_code,
        tenant_id=query.tenant,
        state=EntryState(query.state) if query.state else None,
    )
    page = call.services.database.dlq_entries.list(wanted, limit=query.count, cursor=query.cursor)
    items = [_shown(call, entry) for entry in page.items]
    return Reply(Listing[DlqEntryAnswer](items=items, cursor=page.cursor))


@dlq.post(
    "/embeddings/dlq/state",
    "Decide about a dead letter",
    body=DlqStateRequest,
    answer=DlqEntryAnswer,
    errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    is_for_admins=True,
)
def set_dead_letter_state(call: Call, body: DlqStateRequest) -> Reply:
    """Approve an entry for requeue, with a note, ignore it, or take either back."""
    state = EntryState(body.state)
    if state is EntryState.APPROVED:
        _check_note(body.operator_note)
    act = call.act("dlq.state", f"{body.stage}/{body.entry_id}", body.operator_note)
    entry = call.services.database.dlq_entries.decide(body.stage, body.entry_id, state, act)
    return Reply(_shown(call, entry))


@dlq.post(
    "/embeddings/dlq/requeue",
    "Put approved dead letters back",
    body=DlqRequeueRequest,
    answer=DlqRequeueAnswer,
    errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    is_for_admins=True,
)
def requeue_dead_letters(call: Call, body: DlqRequeueRequest) -> Reply:
    """Put entries back that were approved, byte for byte; a job that failed starts again.

    One entry is refused with 409 where it cannot be put back. Of several, those lose their
    approval and are named.
    """
    parts = _parts(call)
    requeue = Requeue(
        parts.letters[body.stage],
        call.services.database,
        parts.sealer,
        call.services.queues,
        parts.pace.of(body.max_per_second),
    )
    act = call.act("dlq.requeue", body.stage)
    keeps = not body.delete_from_dlq
    if body.entry_id is not None:
        done = requeue.one(body.entry_id, act, keeps=keeps, is_dry=body.dry_run)
        return Reply(DlqRequeueAnswer.of(done, is_dry=body.dry_run))
    wanted = EntryFilter(**vars(body.filter)) if body.filter else EntryFilter()
    has_time = _budget(parts)
    if body.dry_run:
        done = requeue.try_out(wanted, limit=body.limit, has_time=has_time)
    else:
        done = requeue.matching(wanted, act, keeps=keeps, limit=body.limit, has_time=has_time)
    return Reply(DlqRequeueAnswer.of(done, is_dry=body.dry_run))


@dlq.post(
    "/embeddings/dlq/redrive",
    "Put a whole dead-letter queue back",
    body=DlqRedriveRequest,
    answer=DlqRedriveAnswer,
    status=HTTPStatus.ACCEPTED,
    errors=(HTTPStatus.NOT_FOUND,),
    is_for_admins=True,
)
def redrive_dead_letters(call: Call, body: DlqRedriveRequest) -> Reply:
    """Put back all that is not ignored, and start the failed jobs of it again.

    A request moves for some seconds and says how far it is; asked again it goes on, and so does
    maintenance every minute. It may be over before that: who asks again names its `redrive_id`, or
    begins another.
    """
    mover = _mover(call, body.stage)
    if body.dry_run:
        return Reply(DlqRedriveAnswer.dry(body.stage, mover.to_move()))
    if body.redrive_id is not None:
        found = _newest(call, body.stage, body.redrive_id)
    else:
        _check_note(body.operator_note)
        act = call.act("dlq.redrive", body.stage, body.operator_note)
        found = mover.start(body.max_per_second, act)
    now = mover.advance(_budget(_parts(call))) if found.is_open else None
    return Reply(DlqRedriveAnswer.of(now or found))


@dlq.get(
    "/embeddings/dlq/redrive",
    "Follow a redrive",
    query=DlqRedriveQuery,
    answer=DlqRedriveAnswer,
    errors=(HTTPStatus.NOT_FOUND,),
    is_for_admins=True,
)
def get_redrive(call: Call, query: DlqRedriveQuery) -> Reply:
    """Read the newest redrive of a stage."""
    return Reply(DlqRedriveAnswer.of(_newest(call, query.stage)))


@dlq.post(
    "/embeddings/dlq/redrive/cancel",
    "Stop a redrive",
    body=DlqCancelRequest,
    answer=DlqRedriveAnswer,
    errors=(HTTPStatus.CONFLICT,),
    is_for_admins=True,
)
def cancel_redrive(call: Call, body: DlqCancelRequest) -> Reply:
    """Stop a redrive; what went back has gone back."""
    act = call.act("dlq.redrive_cancel", body.stage, body.operator_note)
    cancelling = call.services.database.redrives.cancel(body.stage, act)
    now = _mover(call, body.stage).advance(lambda: False)
    return Reply(DlqRedriveAnswer.of(now or cancelling))


@dlq.post(
    "/embeddings/dlq/refresh",
    "Look at the dead-letter queues now",
    body=DlqRefreshRequest,
    answer=DlqRefreshAnswer,
    is_for_admins=True,
)
def refresh_dead_letters(call: Call, body: DlqRefreshRequest) -> Reply:
    """Bring the listing up to date, as maintenance does every minute."""
    parts = _parts(call)
    has_time = _budget(parts)
    looked = []
    for stage in (body.stage,) if body.stage else tuple(parts.letters):
        done = mirror(
            parts.letters[stage],
            database=call.services.database,
            sealer=parts.sealer,
            has_time=has_time,
        )
        looked.append(
            DlqLooked(
                stage=stage,
                added=done.added,
                gone=done.gone + done.removed,
                put_back=done.put_back,
                failed_jobs=done.failed_jobs,
                complete=done.is_complete,
            )
        )
    return Reply(DlqRefreshAnswer(stages=looked))


def _parts(call: Call) -> DeadLetterParts:
    if call.services.dead_letters is None:
        raise QueueUnavailableError
    return call.services.dead_letters


def _mover(call: Call, stage: str) -> Mover:
    parts, services = _parts(call), call.services
    return Mover(parts.letters[stage], services.database, parts.sealer, services.queues, parts.pace)


def _newest(call: Call, stage: str, redrive_id: str | None = None) -> Redrive:
    found = call.services.database.redrives.newest(stage)
    if found is None or redrive_id not in (None, found.redrive_id):
        raise NotFoundError("There was no redrive of this stage.", code="REDRIVE_NOT_FOUND")
    return found


def _budget(parts: DeadLetterParts) -> Callable[[], bool]:
    until = time.monotonic() + parts.request_s
    return lambda: time.monotonic() < until


def _check_note(note: str) -> None:
    if not note.strip():
        raise RequestError(
            "Say why, in operator_note.", code="NOTE_REQUIRED", field="operator_note"
        )


def _shown(call: Call, entry: Entry) -> DlqEntryAnswer:
    return DlqEntryAnswer.of(entry, _preview(call, entry))


def _preview(call: Call, entry: Entry) -> dict[str, Any] | None:
    """Open the preview of an entry; None where there is none, or its key is not at hand."""
    if entry.preview is None or call.services.dead_letters is None:
        return None
    place = Place(entry.stage, entry.entry_id, entry.tenant_id or "", part="preview")
    try:
        opened = call.services.dead_letters.sealer.open(entry.preview, place, entry.key_id)
    except ConflictError:
        return None
    return dict(json.loads(opened))
