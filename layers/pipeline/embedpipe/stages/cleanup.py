"""Cleanup: finished jobs and records that outlived their retention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from embedpipe.domain.audit import Act
from embedpipe.ports import Database, Housekeeping, OldRecords

_NAME = "cleanup"
_INTERVAL_S = 3600.0
#: Jobs that one transaction removes.
_PAGE = 100


@dataclass(frozen=True)
class Cleaned:
    """What cleanup removed, or would; `remaining` says that there is more."""

    jobs: int = 0
    versions: int = 0
    audit: int = 0
    remaining: bool = False


def cleanup(
    *,
    database: Database,
    days: float,
    dry_run: bool = False,
    limit: int = 1000,
    act: Act | None = None,
    has_time: Callable[[], bool] = lambda: True,
) -> Cleaned:
    """Remove jobs that ended `days` ago or longer, and versions that nothing else names.

    The visible version of a document stays, and so does its latest one. The Idempotency-Key of a
    removed job is free again: a request with it is a new one. Needs no more than an operator's
    rights.

    Parameters
    ----------
    limit
        Jobs in one call.
    act
        Who asked for it; written down with each transaction, none when nothing changes.

    Raises
    ------
    StoreUnavailableError
        What was removed before is removed.
    """
    due = database.housekeeping.finished(days=days, limit=limit + 1)
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for tenant_id, job_id in due[:limit]:
        by_tenant[tenant_id].append(job_id)
    jobs = versions = asked = 0
    for tenant_id, job_ids in by_tenant.items():
        for start in range(0, len(job_ids), _PAGE):
            if not has_time():
                return Cleaned(jobs, versions, remaining=True)
            page = job_ids[start : start + _PAGE]
            removed = database.housekeeping.remove_finished(
                tenant_id, page, days=days, dry_run=dry_run, act=act
            )
            asked += len(page)
            jobs, versions = jobs + removed.jobs, versions + removed.versions
    return Cleaned(jobs, versions, remaining=len(due) > limit or jobs < asked)


def retain(
    *,
    database: Database,
    jobs_days: float,
    audit_days: float,
    has_time: Callable[[], bool] = lambda: True,
    limit: int = 1000,
) -> tuple[Cleaned, OldRecords]:
    """Apply the retention to everything, now and then; what is left over is gone on with at once.

    Raises
    ------
    StoreUnavailableError
        The rest is left to the next run.
    """
    keeping: Housekeeping = database.housekeeping
    if keeping.begin(_NAME, _INTERVAL_S) is None:
        return Cleaned(), OldRecords()
    cleaned = Cleaned(remaining=True)
    jobs = versions = 0
    while cleaned.remaining and has_time():
        cleaned = cleanup(database=database, days=jobs_days, limit=limit, has_time=has_time)
        jobs, versions = jobs + cleaned.jobs, versions + cleaned.versions
        if not cleaned.jobs:
            # Somebody else holds what is left.
            break
    records = OldRecords()
    if has_time():
        records = keeping.remove_records(audit_days=audit_days, days=jobs_days, limit=limit)
        database.skips.remove_expired(limit)
    is_over = not cleaned.remaining and records.audit < limit
    keeping.save(_NAME, "" if is_over else "unfinished")
    return Cleaned(jobs, versions, records.audit, not is_over), records
