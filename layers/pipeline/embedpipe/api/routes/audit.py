"""What operators did."""

from __future__ import annotations

from embedpipe.api.answers import Listing
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.operator_answers import AuditAnswer
from embedpipe.api.operator_requests import AuditQuery

audit = Noun("audit")


@audit.get(
    "/embeddings/audit",
    "List what operators did",
    answer=Listing[AuditAnswer],
    query=AuditQuery,
    is_for_admins=True,
)
def list_audit(call: Call, query: AuditQuery) -> Reply:
    """List administrative acts of all tenants, newest first."""
    page = call.services.database.audits.list(
        limit=query.limit, cursor=query.cursor, action=query.action, actor=query.actor
    )
    items = [AuditAnswer.model_validate(entry) for entry in page.items]
    return Reply(Listing[AuditAnswer](items=items, cursor=page.cursor))
