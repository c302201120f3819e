"""Collections: vectors of one model."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.answers import CollectionAnswer, Listing, StatisticsAnswer
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.requests import CollectionRequest, PageQuery
from embedpipe.errors import InvalidInputError, NotFoundError
from embedpipe.ports import ModelInfo

collections = Noun("collections")


@collections.post(
    "/collections",
    "Create a collection",
    body=CollectionRequest,
    answer=CollectionAnswer,
    status=HTTPStatus.CREATED,
    errors=(HTTPStatus.CONFLICT,),
    headers=("Location",),
)
def create_collection(call: Call, body: CollectionRequest) -> Reply:
    """Create a collection; its model, dimensions and distance are fixed from then on."""
    model = _model(call, body.model_id or call.services.settings.default_model_id)
    created = call.services.database.collections.create(
        call.tenant_id, body.collection, model, body.description
    )
    return Reply(
        CollectionAnswer.of(created),
        HTTPStatus.CREATED,
        {"Location": f"{call.base_path}/collections/{created.collection}"},
    )


def _model(call: Call, model_id: str) -> ModelInfo:
    try:
        return call.services.models.get(model_id)
    except NotFoundError as exc:
        raise InvalidInputError(
            "There is no such model.", code="MODEL_NOT_FOUND", field="model_id"
        ) from exc


@collections.get(
    "/collections", "List collections by name", query=PageQuery, answer=Listing[CollectionAnswer]
)
def list_collections(call: Call, query: PageQuery) -> Reply:
    """List the tenant's collections."""
    page = call.services.database.collections.list(
        call.tenant_id, limit=query.limit, cursor=query.cursor
    )
    items = [CollectionAnswer.of(item) for item in page.items]
    return Reply(Listing[CollectionAnswer](items=items, cursor=page.cursor))


@collections.get("/collections/{collection}", "Read a collection", answer=CollectionAnswer)
def get_collection(call: Call, collection: str) -> Reply:
    """Read a collection."""
    found = call.services.database.collections.get(call.tenant_id, collection)
    return Reply(CollectionAnswer.of(found))


@collections.delete(
    "/collections/{collection}", "Delete a collection for good", status=HTTPStatus.NO_CONTENT
)
def delete_collection(call: Call, collection: str) -> Reply:
    """Delete a collection with its documents, vectors and jobs. It cannot be restored."""
    call.services.database.collections.delete(call.tenant_id, collection)
    return Reply(status=HTTPStatus.NO_CONTENT)


@collections.get(
    "/collections/{collection}/statistics", "Count what a collection holds", answer=StatisticsAnswer
)
def get_collection_statistics(call: Call, collection: str) -> Reply:
    """Count documents, chunks, tokens and unfinished jobs."""
    found = call.services.database.collections.statistics(call.tenant_id, collection)
    return Reply(StatisticsAnswer.of(found))
