"""Documents of a collection."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.answers import Accepted, DocumentAnswer, Listing
from embedpipe.api.operations import MAX_BODY_BYTES, Call, Noun, Reply
from embedpipe.api.requests import DocumentRequest, DocumentsQuery
from embedpipe.api.submission import submitted

documents = Noun("documents")

PATH = "/collections/{collection}/documents"
ONE = PATH + "/{document_id}"


@documents.get(PATH, "List documents by id", query=DocumentsQuery, answer=Listing[DocumentAnswer])
def list_documents(call: Call, collection: str, query: DocumentsQuery) -> Reply:
    """List a collection's documents."""
    page = call.services.database.documents.list(
        call.tenant_id,
        collection,
        include_deleted=query.include_deleted,
        limit=query.limit,
        cursor=query.cursor,
    )
    items = [DocumentAnswer.of(item) for item in page.items]
    return Reply(Listing[DocumentAnswer](items=items, cursor=page.cursor))


@documents.put(
    ONE,
    "Create or replace a document",
    body=DocumentRequest,
    answer=Accepted,
    status=HTTPStatus.ACCEPTED,
    errors=(HTTPStatus.CONFLICT,),
    headers=("Location", "Idempotency-Replayed"),
    is_idempotent_by_key=True,
    max_body_bytes=MAX_BODY_BYTES,
)
def put_document(call: Call, collection: str, document_id: str, body: DocumentRequest) -> Reply:
    """Admit the document's next version; the one before stays searchable until it is stored."""
    return submitted(call, body, collection, document_id)


@documents.get(ONE, "Read a document", answer=DocumentAnswer)
def get_document(call: Call, collection: str, document_id: str) -> Reply:
    """Read a document, a deleted one too."""
    found = call.services.database.documents.get(call.tenant_id, collection, document_id)
    return Reply(DocumentAnswer.of(found))


@documents.delete(ONE, "Delete a document, restorably", answer=DocumentAnswer)
def delete_document(call: Call, collection: str, document_id: str) -> Reply:
    """Take a document out of search and cancel its jobs."""
    found = call.services.database.documents.delete(call.tenant_id, collection, document_id)
    return Reply(DocumentAnswer.of(found))


@documents.post(ONE + "/restore", "Restore a deleted document", answer=DocumentAnswer)
def restore_document(call: Call, collection: str, document_id: str) -> Reply:
    """Bring a deleted document back into search."""
    found = call.services.database.documents.restore(call.tenant_id, collection, document_id)
    return Reply(DocumentAnswer.of(found))
