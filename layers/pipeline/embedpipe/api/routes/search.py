"""Search."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.answers import SearchAnswer
from embedpipe.api.metadata import check_metadata
from embedpipe.api.operations import Call, Noun, Reply
from embedpipe.api.requests import SearchRequest
from embedpipe.stages.search import Search, search

searches = Noun("search")


@searches.post(
    "/vector_stores/{collection}/search",
    "Find the chunks nearest to a query",
    body=SearchRequest,
    answer=SearchAnswer,
    errors=(HTTPStatus.NOT_FOUND,),
)
def search_collection(call: Call, collection: str, body: SearchRequest) -> Reply:
    """Search the visible versions of a collection's documents."""
    services = call.services
    if body.filter is not None:
        check_metadata(body.filter, "filter", services.settings.max_metadata_bytes)
    hits = search(
        Search(
            text=body.query,
            vector=body.vector,
            top_k=body.top_k,
            filter=body.filter,
            min_score=body.min_score,
            ef_search=body.ef_search,
        ),
        tenant_id=call.tenant_id,
        collection=collection,
        database=services.database,
        query_embedder=services.query_embedder,
    )
    return Reply(SearchAnswer.of(hits))
