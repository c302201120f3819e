"""Takes a submitted job through the stages by hand, without their code."""

from __future__ import annotations

import hashlib

import numpy as np
from embedpipe.domain.jobs import BatchRef, JobRef
from embedpipe.ports import NewBatch, NewChunk

from tests.unit.api.client import Client


def store(client: Client, job_id: str, tenant_id: str = "default") -> None:
    """Store a job's document as one chunk, with the fake model's vector."""
    jobs = client.database.jobs
    job = jobs.get(tenant_id, job_id)
    ref = JobRef(tenant_id, job_id, job.epoch, job.collection, job.document_id, job.version)
    source = jobs.begin_chunking(ref)
    assert source is not None
    text = source.content or ""
    digest = hashlib.sha256(text.encode()).hexdigest()
    chunk = NewChunk(0, 0, len(text), text, 3, digest, ("Top", "Sub"))
    assert jobs.finish_chunking(ref, [chunk], [NewBatch(0, 0, 1)], [])
    vector = client.embedder.embed_query(text, client.model.fingerprint)
    packed = np.array(vector, dtype="<f4").tobytes()
    assert jobs.store(BatchRef(ref, 0), client.model.fingerprint, client.model.dimensions, packed)
