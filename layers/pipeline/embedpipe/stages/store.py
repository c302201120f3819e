"""Store stage: vectors into the database; the last batch publishes the version."""

from __future__ import annotations

import base64
import binascii

from embedpipe.errors import MalformedMessageError
from embedpipe.messages import StoreRequested
from embedpipe.ports import Jobs


def store(message: StoreRequested, *, jobs: Jobs) -> bool:
    """Store one batch of vectors.

    Returns
    -------
    False when the work is not wanted any more or was done before; nothing is written then.

    Raises
    ------
    MalformedMessageError
        The vectors are not base64 of chunk_count * dimensions float32.
    ModelMismatchError, DimensionMismatchError
        Not what the collection holds.
    """
    try:
        vectors = base64.b64decode(message.vectors, validate=True)
    except binascii.Error:
        raise MalformedMessageError("vectors: not base64") from None
    if len(vectors) != 4 * message.chunk_count * message.dimensions:
        raise MalformedMessageError("vectors: length is not chunk_count * dimensions * 4 bytes")
    return jobs.store(message.batch, message.fingerprint, message.dimensions, vectors)
