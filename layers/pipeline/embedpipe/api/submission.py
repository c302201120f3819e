"""From a request body to the submit stage; shared by jobs and documents."""

from __future__ import annotations

import re
from dataclasses import replace
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
    check_content(call, body.content, "content")
    check_metadata(body.metadata, "metadata", call.services.settings.max_metadata_bytes)
    return admitted(
        call,
        Submission(
            collection=collection,
            content=body.content,
            document_id=document_id,
            content_type=body.content_type,
            metadata=body.metadata,
            chunking=_chunking(body),
            priority=body.priority,
        ),
    )


def check_content(call: Call, content: str, field: str) -> None:
    """Raise TooLargeError (CONTENT_TOO_LARGE) for more than a document may have."""
    most = call.services.settings.max_content_bytes
    if len(content.encode()) > most:
        raise TooLargeError(
            f"The content is larger than {most} bytes in UTF-8.",
            code="CONTENT_TOO_LARGE",
            field=field,
        )


def admitted(call: Call, submission: Submission) -> Reply:
    """Admit a document, the key and the trace of the call with it, and answer 202.

    Raises
    ------
    AdmissionClosedError
        PAUSED, DRAINING.
    """
    settings = call.services.settings
    if call.services.controls is not None:
        call.services.controls.check_admission()
    result = submit(
        replace(
            submission,
            idempotency_key=_idempotency_key(call),
            traceparent=call.traceparent,
            request_id=call.request_id,
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
