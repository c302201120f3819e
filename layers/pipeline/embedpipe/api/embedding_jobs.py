"""Inputs that are too many to wait for: a job, and its vectors once they are stored."""

from __future__ import annotations

from embedpipe.api.embedding import Wanted, find_model
from embedpipe.api.operations import Call, Reply
from embedpipe.api.requests import EmbeddingsQuery
from embedpipe.api.submission import admitted, check_content
from embedpipe.api.vector_json import (
    embeddings_json,
    listing,
    most_inputs,
    shortened,
)
from embedpipe.domain.inputs import INPUTS_TYPE, join
from embedpipe.domain.jobs import JobStatus
from embedpipe.errors import ConflictError, InvalidInputError
from embedpipe.stages.dimensions import offered_dimensions
from embedpipe.stages.submit import Submission

# Some 256 tokens for each input that may be waited for.
_CHARACTERS_PER_INPUT = 1024


def is_too_much(call: Call, wanted: Wanted) -> bool:
    """Say whether inputs are better a job. Token arrays never are: a job keeps texts."""
    texts = [one for one in wanted.inputs if isinstance(one, str)]
    most = call.services.settings.sync_max_inputs
    return len(texts) == len(wanted.inputs) and (
        len(texts) > min(most, most_inputs(wanted.dimensions, wanted.encoding_format))
        or sum(map(len, texts)) > most * _CHARACTERS_PER_INPUT
    )


def check_collection_model(call: Call, wanted: Wanted, collection: str) -> None:
    """Check that the vectors of a job could be the collection's.

    Raises
    ------
    NotFoundError
        COLLECTION_NOT_FOUND.
    InvalidInputError
        MODEL_MISMATCH.
    """
    held = call.services.database.collections.get(call.tenant_id, collection)
    if held.model_id != wanted.model.model_id:
        raise InvalidInputError(
            "The collection holds vectors of another model: name one of this model.",
            code="MODEL_MISMATCH",
            field="collection",
        )


def started(call: Call, wanted: Wanted, collection: str) -> Reply:
    """Admit the inputs as one document, each of them a chunk, and answer 202 with the job."""
    if wanted.dimensions != wanted.model.dimensions:
        raise InvalidInputError(
            "A job stores vectors of the model's own length: say `dimensions` when you read them.",
            code="DIMENSIONS_NOT_OFFERED",
            field="dimensions",
        )
    content = join([one for one in wanted.inputs if isinstance(one, str)])
    check_content(call, content, wanted.field)
    return admitted(call, Submission(collection, content, content_type=INPUTS_TYPE))


def stored(call: Call, job_id: str, query: EmbeddingsQuery) -> Reply:
    """Give a page of a job's vectors, in the order of its inputs or chunks.

    Raises
    ------
    NotFoundError
        JOB_NOT_FOUND.
    ConflictError
        JOB_NOT_SUCCEEDED; EMBEDDINGS_GONE: a newer version of the document took their place.
    """
    database = call.services.database
    job = database.jobs.get(call.tenant_id, job_id)
    if job.status is not JobStatus.SUCCEEDED:
        raise ConflictError(
            f"The job is {job.status.value}: there are vectors once it succeeded.",
            code="JOB_NOT_SUCCEEDED",
            field="job_id",
        )
    held = database.collections.get(call.tenant_id, job.collection)
    dimensions = held.dimensions
    if query.dimensions not in (None, dimensions):
        dimensions = offered_dimensions(find_model(call, held.model_id), query.dimensions)
    page = database.vectors.of_version(
        call.tenant_id,
        job.collection,
        job.document_id,
        job.version,
        limit=min(query.limit, most_inputs(dimensions, query.encoding_format)),
        cursor=query.cursor,
    )
    # A cursor is given where more follow: then, too, an empty page is no end.
    if not page.items:
        raise ConflictError(
            "A newer version of the document took their place.", code="EMBEDDINGS_GONE"
        )
    vectors = ((one.chunk_index, shortened(one.vector, dimensions)) for one in page.items)
    data = listing(vectors, query.encoding_format)
    return Reply(embeddings_json(data, held.model_id, cursor=page.cursor))
