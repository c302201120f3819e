"""Embeddings: vectors at once, as OpenAI's API gives them, and those of jobs."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.answers import Accepted, EmbeddingsAnswer, EmbeddingsPage
from embedpipe.api.embedding import MODEL, PROVIDER, Wanted, embedded, find_model
from embedpipe.api.embedding_jobs import check_collection_model, is_too_much, started, stored
from embedpipe.api.operations import MAX_BODY_BYTES, Call, Noun, Reply
from embedpipe.api.requests import BatchEmbeddingsRequest, EmbeddingsQuery, EmbeddingsRequest
from embedpipe.stages.dimensions import offered_dimensions

embeddings = Noun("embeddings")

DEFAULT_COLLECTION = "default"


@embeddings.post(
    "/embeddings",
    "Embed inputs now",
    body=EmbeddingsRequest,
    answer=EmbeddingsAnswer,
    errors=(HTTPStatus.NOT_FOUND,),
    headers=(PROVIDER, MODEL),
    is_openai=True,
    aliases=("/v1/embeddings",),
    max_body_bytes=MAX_BODY_BYTES,
)
def create_embeddings(call: Call, body: EmbeddingsRequest) -> Reply:
    """Give the vectors of up to 2048 inputs, as documents, in the form of OpenAI's API."""
    model = find_model(call, body.model)
    dimensions = offered_dimensions(model, body.dimensions)
    return embedded(call, Wanted(body.input, model, dimensions, body.encoding_format))


@embeddings.post(
    "/embeddings/batch",
    "Embed many inputs",
    body=BatchEmbeddingsRequest,
    answer=EmbeddingsAnswer,
    also={HTTPStatus.ACCEPTED: Accepted},
    errors=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    headers=(PROVIDER, MODEL),
    also_headers=("Location", "Idempotency-Replayed"),
    is_openai=True,
    is_idempotent_by_key=True,
    max_body_bytes=MAX_BODY_BYTES,
)
def create_embeddings_batch(call: Call, body: BatchEmbeddingsRequest) -> Reply:
    """Give the vectors of inputs now, or of many texts 202 with a job that stores them."""
    model = find_model(call, body.model)
    dimensions = offered_dimensions(model, body.dimensions)
    wanted = Wanted(body.inputs, model, dimensions, body.encoding_format, field="inputs")
    is_job = is_too_much(call, wanted)
    if is_job or body.collection is not None:
        check_collection_model(call, wanted, body.collection or DEFAULT_COLLECTION)
    if is_job:
        return started(call, wanted, body.collection or DEFAULT_COLLECTION)
    return embedded(call, wanted)


@embeddings.get(
    "/embeddings/jobs/{job_id}/embeddings",
    "Read the vectors of a job",
    query=EmbeddingsQuery,
    answer=EmbeddingsPage,
    errors=(HTTPStatus.CONFLICT,),
)
def list_job_embeddings(call: Call, job_id: str, query: EmbeddingsQuery) -> Reply:
    """Give a succeeded job's vectors in the order of its inputs or chunks; 409 before."""
    return stored(call, job_id, query)
