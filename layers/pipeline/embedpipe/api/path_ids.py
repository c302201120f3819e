"""Ids in paths: what cannot be the id of anything is not found, without asking the database."""

from __future__ import annotations

import re

from pydantic_core import PydanticCustomError

from embedpipe.api.fields import COLLECTION_PATTERN, document_id
from embedpipe.errors import InvalidInputError, NotFoundError

_COLLECTION = re.compile(COLLECTION_PATTERN)
_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check_job_id(value: str) -> None:
    """Raise NotFoundError (JOB_NOT_FOUND) for what is no UUID in lower case."""
    if not _JOB.fullmatch(value):
        raise NotFoundError("There is no such job.", code="JOB_NOT_FOUND", field="job_id")


def check_collection(value: str) -> None:
    """Raise NotFoundError (COLLECTION_NOT_FOUND) for what is no collection name."""
    if not _COLLECTION.fullmatch(value):
        raise NotFoundError(
            "There is no such collection.", code="COLLECTION_NOT_FOUND", field="collection"
        )


def check_document_id(value: str) -> None:
    """Raise InvalidInputError for what is no document id: a PUT would create it."""
    try:
        if len(document_id(value)) <= 256:
            return
    except PydanticCustomError:
        pass
    raise InvalidInputError(
        "The document id is not allowed.", code="INVALID_FORMAT", field="document_id"
    )


CHECKS = {
    "job_id": check_job_id,
    "collection": check_collection,
    "document_id": check_document_id,
}
