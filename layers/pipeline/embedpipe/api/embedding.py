"""Vectors for whoever waits: one way for `/embeddings` and `/embeddings/batch`."""

from __future__ import annotations

from dataclasses import dataclass

from embedpipe.api.operations import Call, Reply
from embedpipe.api.vector_json import (
    EncodingFormat,
    check_answer,
    embeddings_json,
    listing,
    split_rows,
)
from embedpipe.errors import (
    EmbedderUnavailableError,
    InvalidInputError,
    ModelFilesError,
    NotFoundError,
)
from embedpipe.ports import ModelInfo
from embedpipe.ports.synchronous import Inputs

PROVIDER, MODEL = "X-Embeddings-Provider", "X-Embeddings-Model"


@dataclass(frozen=True)
class Wanted:
    """What the caller wants embedded; `field` is what the request calls the inputs."""

    inputs: Inputs
    model: ModelInfo
    dimensions: int
    encoding_format: EncodingFormat
    field: str = "input"


def embedded(call: Call, wanted: Wanted) -> Reply:
    """Have inputs computed now and answer their vectors.

    Raises
    ------
    InvalidInputError
        The model does not take the inputs.
    TooLargeError
        ANSWER_TOO_LARGE.
    TransientError
        It cannot be computed now, or not in time.
    """
    check_answer(len(wanted.inputs), wanted.dimensions, wanted.encoding_format)
    embedder = call.services.embedder
    if embedder is None:
        raise EmbedderUnavailableError
    model_id = wanted.model.model_id
    try:
        done = embedder.embed(
            wanted.model, wanted.inputs, dimensions=wanted.dimensions, tenant_id=call.tenant_id
        )
    except InvalidInputError as error:
        if error.field == "input":
            error.field = wanted.field
        raise
    tokens = sum(done.tokens)
    data = listing(enumerate(split_rows(done.vectors, done.dimensions)), wanted.encoding_format)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Reply(
        embeddings_json(data, model_id, usage=usage),
        headers={PROVIDER: done.provider, MODEL: model_id},
    )


def find_model(call: Call, model_id: str, field: str = "model") -> ModelInfo:
    """Find a model of the catalogue.

    Raises
    ------
    NotFoundError
        MODEL_NOT_FOUND.
    EmbedderUnavailableError
        MODEL_UNAVAILABLE: its files are damaged.
    """
    try:
        return call.services.models.get(model_id)
    except NotFoundError:
        raise NotFoundError(
            "There is no such model.", code="MODEL_NOT_FOUND", field=field
        ) from None
    except ModelFilesError:
        raise EmbedderUnavailableError(
            "The model's files are damaged.", code="MODEL_UNAVAILABLE"
        ) from None
