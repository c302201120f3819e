"""Jobs for texts, and their first messages, where a benchmark leaves the API out."""

from __future__ import annotations

import hashlib
from uuid import uuid4

from embedpipe.domain.jobs import Chunking, JobRef, NewJob
from embedpipe.ports import Admission, OutboxRow
from embedpipe.stages.submit import chunk_requested

TENANT = COLLECTION = "default"


def new_job(text: str, document_id: str | None = None) -> NewJob:
    """Give a job for a text of its own document."""
    data = text.encode()
    return NewJob(
        tenant_id=TENANT,
        job_id=str(uuid4()),
        collection=COLLECTION,
        document_id=document_id or uuid4().hex,
        content=text,
        content_uri=None,
        content_sha256=hashlib.sha256(data).hexdigest(),
        content_bytes=len(data),
        content_type="text/plain",
        chunking=Chunking(),
    )


def requested(admission: Admission, traceparent: str | None = None) -> OutboxRow:
    """Give the message that asks for its chunks."""
    ref = JobRef(
        TENANT,
        admission.job_id,
        admission.epoch,
        COLLECTION,
        admission.document_id,
        admission.version,
    )
    return chunk_requested(ref, traceparent)
