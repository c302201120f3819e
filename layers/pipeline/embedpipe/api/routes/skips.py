"""Jobs that are not to be processed."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.operator_answers import SkipAnswer, SkippedAnswer
from embedpipe.api.operator_requests import SkipQuery, SkipRequest

skips = Noun("skips")


@skips.post(
    "/embeddings/job/skip",
    "Skip a job",
    answer=SkippedAnswer,
    body=SkipRequest,
    errors=(HTTPStatus.NOT_FOUND,),
    is_for_admins=True,
)
def skip_job(call: Call, body: SkipRequest) -> Reply:
    """Cancel a job, of whatever tenant, with code SKIPPED, and hold back every requeue of it.

    A job that has its final status keeps it. Another skip counts from its own moment.
    """
    done = call.services.database.skips.skip(
        body.job_id,
        float(body.ttl_seconds),
        call.act("job.skip", body.job_id, body.note),
    )
    return Reply(
        SkippedAnswer(
            job_id=done.skip.job_id,
            skipped=True,
            expires_at=done.skip.expires_at,
            created_by=done.skip.created_by,
            tenant_id=done.skip.tenant_id,
            status=done.status,
            was_cancelled=done.was_cancelled,
        )
    )


@skips.get(
    "/embeddings/job/skip/status",
    "Say whether a job is skipped",
    answer=SkipAnswer,
    query=SkipQuery,
    errors=(HTTPStatus.NOT_FOUND,),
    is_for_admins=True,
)
def get_skip(call: Call, query: SkipQuery) -> Reply:
    """Say whether a job, of whatever tenant, is skipped, until when, and who said so."""
    found = call.services.database.skips.get(query.job_id)
    return Reply(
        SkipAnswer(
            job_id=query.job_id,
            skipped=found is not None,
            expires_at=found.expires_at if found else None,
            created_by=found.created_by if found else None,
        )
    )
