"""From a request body to the submit stage; shared by jobs and documents."""

from __future__ import annotations

import re
from http import HTTPStatus

from embedpipe.api.answers import Accepted
from embedpipe.api.metadata import check_metadata
from embedpipe.api.operations import Call, Reply
from embedpipe.api.reading import single
from embedpipe.api.requests import DocumentRequest
from embedpipe.errors import InvalidInputError, TooLargeError
from embedpipe.stages.submit import Submission, WantedChunking, submit

IDEMPOTENCY_KEY = "Idempotency-Key"
UNSENT = "message not sent; the sweep sends it"
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def submitted(call: Call, body: DocumentRequest, collection: str, document_id: str | None) -> Reply:
    """Submit a document and answer 202 with the job's place."""
    settings = call.services.settings
    if len(body.content.encode()) > settings.max_content_bytes:
        raise TooLargeError(
            f"The content is larger than {settings.max_content_bytes} bytes in UTF-8.",
            code="CONTENT_TOO_LARGE",
            field="content",
        )
    check_metadata(body.metadata, "metadata", settings.max_metadata_bytes)
    result = submit(
        Submission(
            collection=collection,
            content=body.content,
            document_id=document_id,
            content_type=body.content_type,
            metadata=body.metadata,
            chunking=_chunking(body),
            priority=body.priority,
            idempotency_key=_idempotency_key(call),
            traceparent=call.traceparent,
        ),
        tenant_id=call.tenant_id,
        database=call.services.database,
        blobs=call.services.blobs,
        models=call.services.models,
        chunk_queue=call.services.chunk_queue,
        inline_content_bytes=settings.inline_content_bytes,
    )
    headers = {"Location": f"{call.base_path}/embeddings/jobs/{result.admission.job_id}"}
    if not result.admission.created:
        headers["Idempotency-Replayed"] = "true"
    return Reply(
        Accepted.of(result.admission),
        HTTPStatus.ACCEPTED,
        headers,
        warnings=() if result.is_sent else (UNSENT,),
    )


def _chunking(body: DocumentRequest) -> WantedChunking | None:
    if body.chunking is None:
        return None
    return WantedChunking(body.chunking.size, body.chunking.overlap, body.chunking.unit)


def _idempotency_key(call: Call) -> str | None:
    key = single(call.headers, IDEMPOTENCY_KEY)
    if key is not None and not (_KEY.fullmatch(key) and key.strip()):
        raise InvalidInputError(
            "The key must be 1 to 255 printable ASCII characters.",
            code="INVALID_IDEMPOTENCY_KEY",
            field=IDEMPOTENCY_KEY,
        )
    return key
