"""The pipeline as a whole, put right: stuck jobs restart, old ones go, open ones are ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from embedpipe.api.looking import sources
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.operator_answers import CleanupAnswer, ClearAnswer, ResetAnswer
from embedpipe.api.operator_requests import CleanupRequest, ClearRequest, ResetRequest
from embedpipe.stages.cleanup import cleanup
from embedpipe.stages.stuck import find_stuck, idle_jobs, reset_stuck

repairs = Noun("orchestrator")

#: How long a request works; whoever wants more asks again.
TIME_S = 10.0
#: Jobs that one transaction cancels.
PAGE = 100


def _time() -> Callable[[], bool]:
    until = time.monotonic() + TIME_S
    return lambda: time.monotonic() < until


@repairs.post(
    "/embeddings/orchestrator/reset-stuck",
    "Start stuck jobs again",
    answer=ResetAnswer,
    body=ResetRequest,
    is_for_admins=True,
)
def reset_stuck_jobs(call: Call, body: ResetRequest) -> Reply:
    """Start again what the listing `stuck` shows, the longest unmoved first, from its beginning.

    Each is a transaction of its own, written down, and fenced: whatever is left of an earlier try
    has no effect. Jobs of paused stages and skipped ones are left alone.
    """
    services = call.services
    idle = idle_jobs(sources(call), float(body.idle_seconds))
    found = find_stuck(services.database, idle, tenant_id=body.tenant, limit=body.limit)
    if body.dry_run:
        ids = [one.job.job_id for one in found]
        return Reply(
            ResetAnswer(matched=len(ids), restarted=0, refused=0, dry_run=True, job_ids=ids)
        )
    done = reset_stuck(
        found,
        database=services.database,
        chunk_queue=services.chunk_queue,
        act=call.act("job.reset", "", body.note),
        has_time=_time(),
    )
    return Reply(
        ResetAnswer(
            matched=len(done.matched),
            restarted=len(done.restarted),
            refused=done.refused,
            dry_run=False,
            job_ids=list(done.restarted),
        )
    )


@repairs.post(
    "/embeddings/orchestrator/cleanup",
    "Remove what ended long ago",
    answer=CleanupAnswer,
    body=CleanupRequest,
    is_for_admins=True,
)
def clean_up(call: Call, body: CleanupRequest) -> Reply:
    """Remove jobs that ended so many days ago, and versions of documents that nothing names.

    Visible versions stay. It works for ten seconds at most, and says whether there is more.
    """
    done = cleanup(
        database=call.services.database,
        days=body.days,
        dry_run=body.dry_run,
        act=call.act("jobs.cleanup", f"{body.days:g} days", body.note),
        has_time=_time(),
    )
    return Reply(
        CleanupAnswer(
            jobs=done.jobs,
            versions=done.versions,
            audit=done.audit,
            dry_run=body.dry_run,
            remaining=done.remaining,
        )
    )


@repairs.post(
    "/embeddings/orchestrator/clear",
    "Cancel open jobs",
    answer=ClearAnswer,
    body=ClearRequest,
    is_for_admins=True,
)
def clear_open_jobs(call: Call, body: ClearRequest) -> Reply:
    """Cancel all open jobs, those of a tenant, or those of a collection, with code CLEARED.

    A page of jobs is one transaction, written down. It works for ten seconds at most, and leaves
    what is being worked on at the moment; what remains is counted.
    """
    database = call.services.database
    wanted = database.overview.open_by_tenant(tenant_id=body.tenant, collection=body.collection)
    matched = sum(wanted.values())
    if body.dry_run:
        return Reply(ClearAnswer(matched=matched, cancelled=0, remaining=matched, dry_run=True))
    has_time, cancelled = _time(), 0
    for tenant_id, left_of_it in wanted.items():
        subject = tenant_id if body.collection is None else f"{tenant_id}/{body.collection}"
        act = call.act("jobs.clear", subject, body.note)
        # The oldest come first, and no more than were counted: what was admitted since goes on.
        while (
            left_of_it > 0
            and has_time()
            and (
                count := database.skips.cancel_open(
                    tenant_id, act, collection=body.collection, limit=min(PAGE, left_of_it)
                )
            )
        ):
            cancelled, left_of_it = cancelled + count, left_of_it - count
    left = database.overview.open_by_tenant(tenant_id=body.tenant, collection=body.collection)
    return Reply(
        ClearAnswer(
            matched=matched, cancelled=cancelled, remaining=sum(left.values()), dry_run=False
        )
    )
