"""Submit stage: admit a document as a job, and send the job on its way."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from embedpipe.domain.jobs import Chunking, JobRef, NewJob
from embedpipe.errors import (
    EmbedderUnavailableError,
    InvalidInputError,
    NotFoundError,
    TransientError,
)
from embedpipe.messages import ChunkRequested
from embedpipe.ports import Admission, Blobs, Database, ModelInfo, Models, Outbox, OutboxRow
from embedpipe.stages.relay import relay

CHUNK_QUEUE = "chunk"
#: Where texts of documents lie that are too large for the database.
DOCUMENTS_PREFIX = "documents/"
DEFAULT_TOKENS = 256
DEFAULT_CHARS = 1000
MAX_CHARS = 32_768
DEFAULT_OVERLAP = 32
#: What a message takes for the id of an operation.
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class WantedChunking:
    """How the caller wants the document cut; what is None follows from the model."""

    size: int | None = None
    overlap: int | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Submission:
    """A document to embed. Without `document_id` it gets a new one."""

    collection: str
    content: str
    document_id: str | None = None
    content_type: str = "text/plain"
    metadata: dict[str, Any] = field(default_factory=dict)
    chunking: WantedChunking | None = None
    priority: int = 50
    idempotency_key: str | None = None
    traceparent: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Submitted:
    """What admission answered; `is_sent` is False when the sweep has to send the message."""

    admission: Admission
    is_sent: bool


def submit(
    submission: Submission,
    *,
    tenant_id: str,
    database: Database,
    blobs: Blobs,
    models: Models,
    chunk_queue: Outbox,
    inline_content_bytes: int,
) -> Submitted:
    """Admit a document.

    Content over `inline_content_bytes` goes to the object store before admission, under a key of
    its own: an object is never put twice, so one that is old and that nothing names has no
    admission under way. Where admission fails, or repeats an answer, the object is left over, and
    `stages.orphans` removes it.

    Raises
    ------
    NotFoundError
        COLLECTION_NOT_FOUND.
    InvalidInputError
        CHUNK_SIZE_OUT_OF_RANGE, OVERLAP_TOO_LARGE, TOKENIZER_UNAVAILABLE.
    ConflictError
        IDEMPOTENCY_KEY_REUSED.
    StoreUnavailableError, BlobsUnavailableError
        Nothing is admitted.
    """
    model = _model(tenant_id, submission.collection, database, models)
    chunking = resolve_chunking(submission.chunking or WantedChunking(), model)
    data = submission.content.encode()
    digest = hashlib.sha256(data).hexdigest()
    job_id = str(uuid4())
    uri = None
    if len(data) > inline_content_bytes:
        uri = blobs.put(f"{DOCUMENTS_PREFIX}{tenant_id}/{job_id}", data)
    job = NewJob(
        tenant_id=tenant_id,
        job_id=job_id,
        collection=submission.collection,
        document_id=submission.document_id or str(uuid4()),
        content=submission.content if uri is None else None,
        content_uri=uri,
        content_sha256=digest,
        content_bytes=len(data),
        content_type=submission.content_type,
        chunking=chunking,
        metadata=submission.metadata,
        priority=submission.priority,
        idempotency_key=submission.idempotency_key,
        request_sha256=_request_sha256(submission, digest),
        traceparent=submission.traceparent,
    )
    rows: list[OutboxRow] = []

    def outbox_row(admission: Admission) -> OutboxRow:
        ref = JobRef(
            tenant_id=job.tenant_id,
            job_id=admission.job_id,
            epoch=admission.epoch,
            collection=job.collection,
            document_id=admission.document_id,
            version=admission.version,
        )
        rows[:] = [chunk_requested(ref, job.traceparent, submission.request_id)]
        return rows[0]

    admission = database.jobs.admit(job, outbox_row)
    return Submitted(admission, not admission.created or _send(rows, database, chunk_queue))


def resolve_chunking(wanted: WantedChunking, model: ModelInfo) -> Chunking:
    """Fill in what the caller left open, and check the rest against the model.

    A chunk's size in tokens counts the model's special tokens, so what an overlap may take is
    smaller by these. Characters are the unit where only the provider can count tokens.
    """
    unit = wanted.unit or ("tokens" if model.has_tokenizer else "chars")
    in_tokens = unit == "tokens"
    if in_tokens and not model.has_tokenizer:
        raise InvalidInputError(
            "Only the provider of the collection's model can count its tokens: use chars.",
            code="TOKENIZER_UNAVAILABLE",
            field="chunking.unit",
        )
    reserved = model.special_tokens if in_tokens else 0
    smallest, largest = reserved + 1, model.max_tokens if in_tokens else MAX_CHARS
    default = min(DEFAULT_TOKENS, largest) if in_tokens else DEFAULT_CHARS
    size = default if wanted.size is None else wanted.size
    if not smallest <= size <= largest:
        raise InvalidInputError(
            f"The chunk size must be {smallest} to {largest} {unit}.",
            code="CHUNK_SIZE_OUT_OF_RANGE",
            field="chunking.size",
        )
    overlap = min(DEFAULT_OVERLAP, size // 8) if wanted.overlap is None else wanted.overlap
    if not 0 <= overlap < size - reserved:
        raise InvalidInputError(
            f"The overlap must be 0 to {size - reserved - 1} {unit}.",
            code="OVERLAP_TOO_LARGE",
            field="chunking.overlap",
        )
    return Chunking(size=size, overlap=overlap, unit=unit)


def chunk_requested(
    ref: JobRef, traceparent: str | None, request_id: str | None = None
) -> OutboxRow:
    """Give the first message of a job's epoch; its operation is the request that asked for it."""
    operation = {"operation_id": request_id} if request_id and _ID.fullmatch(request_id) else {}
    message = ChunkRequested(
        **operation,
        tenant_id=ref.tenant_id,
        job_id=ref.job_id,
        epoch=ref.epoch,
        collection=ref.collection,
        document_id=ref.document_id,
        document_version=ref.version,
        traceparent=traceparent,
    )
    return OutboxRow(ref.tenant_id, CHUNK_QUEUE, f"{ref.job_id}/{ref.epoch}", message.encode())


def _model(tenant_id: str, collection: str, database: Database, models: Models) -> ModelInfo:
    model_id = database.collections.get(tenant_id, collection).model_id
    try:
        return models.get(model_id)
    except NotFoundError:
        raise EmbedderUnavailableError(
            "The collection's model is not at hand.", code="MODEL_UNAVAILABLE"
        ) from None


def _request_sha256(submission: Submission, content_sha256: str) -> str:
    """Digest of what the caller asked for: what tells a repeated request from another one."""
    asked = asdict(submission) | {"content": content_sha256}
    del asked["idempotency_key"], asked["traceparent"], asked["request_id"]
    if asked["chunking"] is not None and asked["chunking"]["unit"] is None:
        asked["chunking"]["unit"] = "tokens"
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _send(rows: list[OutboxRow], database: Database, chunk_queue: Outbox) -> bool:
    """Send right away. An outage is no reason to refuse: the row is committed, the sweep sends."""
    try:
        sent = relay(rows, outbox=database.outbox, queues={CHUNK_QUEUE: chunk_queue})
    except TransientError:
        return False
    return sent == len(rows)
