"""Embeddings: vectors at once, as OpenAI's API gives them."""

from __future__ import annotations

from http import HTTPStatus

from embedpipe.api.answers import EmbeddingsAnswer
from embedpipe.api.embedding import MODEL, PROVIDER, Wanted, embedded
from embedpipe.api.operations import MAX_BODY_BYTES, Call, Noun, Reply
from embedpipe.api.requests import BatchEmbeddingsRequest, EmbeddingsRequest

embeddings = Noun("embeddings")


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
    wanted = Wanted(body.input, body.model, body.encoding_format, body.dimensions)
    return embedded(call, wanted)


@embeddings.post(
    "/embeddings/batch",
    "Embed many inputs",
    body=BatchEmbeddingsRequest,
    answer=EmbeddingsAnswer,
    errors=(HTTPStatus.NOT_FOUND,),
    headers=(PROVIDER, MODEL),
    is_openai=True,
    max_body_bytes=MAX_BODY_BYTES,
)
def create_embeddings_batch(call: Call, body: BatchEmbeddingsRequest) -> Reply:
    """Give the vectors of many inputs."""
    wanted = Wanted(body.inputs, body.model, body.encoding_format, body.dimensions, field="inputs")
    return embedded(call, wanted)
