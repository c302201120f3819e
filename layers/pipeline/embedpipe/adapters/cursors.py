"""Cursors of keyset listings: opaque to the caller, the same for every database adapter."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from embedpipe.errors import InvalidInputError


def _invalid() -> InvalidInputError:
    return InvalidInputError(
        "the cursor was not given by this listing", code="INVALID_CURSOR", field="cursor"
    )


def encode_cursor(kind: str, keys: Sequence[str]) -> str:
    """Give the cursor that stands after the row with these keys; `kind` names the listing."""
    body = json.dumps([kind, *keys], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).rstrip(b"=").decode()


def decode_cursor(kind: str, cursor: str, keys: int) -> list[str]:
    """Read the keys of a cursor.

    Raises
    ------
    InvalidInputError
        INVALID_CURSOR: not a cursor, or one of another listing.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        body = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeError, binascii.Error, ValueError, RecursionError):
        raise _invalid() from None
    fits = isinstance(body, list) and len(body) == keys + 1 and body[0] == kind
    if not fits or not all(isinstance(part, str) and "\0" not in part for part in body):
        raise _invalid()
    try:
        "".join(body).encode()
    except UnicodeError:
        raise _invalid() from None
    return [str(part) for part in body[1:]]


def encode_job_cursor(moment: datetime, job_id: str, kind: str = "jobs") -> str:
    """Give the cursor after a job, in the order of a time of it; `kind` names the listing."""
    return encode_cursor(kind, [moment.isoformat(), job_id])


def decode_job_cursor(cursor: str, kind: str = "jobs") -> tuple[datetime, str]:
    """Read a cursor of `encode_job_cursor`. Raises InvalidInputError (INVALID_CURSOR)."""
    created_at, job_id = decode_cursor(kind, cursor, 2)
    try:
        moment = datetime.fromisoformat(created_at)
        job = str(UUID(job_id))
    except ValueError:
        raise _invalid() from None
    if moment.tzinfo is None:
        raise _invalid()
    return moment, job


def encode_audit_cursor(audit_id: int) -> str:
    """Give the cursor after an act, in the order newest first."""
    return encode_cursor("audit", [str(audit_id)])


def decode_audit_cursor(cursor: str) -> int:
    """Read a cursor of `encode_audit_cursor`. Raises InvalidInputError (INVALID_CURSOR)."""
    return _number(decode_cursor("audit", cursor, 1)[0], digits=18)


def encode_chunk_cursor(chunk_index: int) -> str:
    """Give the cursor after a chunk of a version."""
    return encode_cursor("chunks", [str(chunk_index)])


def decode_chunk_cursor(cursor: str) -> int:
    """Read a cursor of `encode_chunk_cursor`. Raises InvalidInputError (INVALID_CURSOR)."""
    return _number(decode_cursor("chunks", cursor, 1)[0], digits=9)


def encode_dlq_cursor(arrived_at: datetime, stage: str, entry_id: str) -> str:
    """Give the cursor after a dead letter, in the order newest first."""
    return encode_cursor("dlq", [arrived_at.isoformat(), stage, entry_id])


def decode_dlq_cursor(cursor: str) -> tuple[datetime, str, str]:
    """Read a cursor of `encode_dlq_cursor`. Raises InvalidInputError (INVALID_CURSOR)."""
    arrived_at, stage, entry_id = decode_cursor("dlq", cursor, 3)
    try:
        moment = datetime.fromisoformat(arrived_at)
    except ValueError:
        raise _invalid() from None
    if moment.tzinfo is None:
        raise _invalid()
    return moment, stage, entry_id


def _number(text: str, *, digits: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise _invalid()
    return int(text)
