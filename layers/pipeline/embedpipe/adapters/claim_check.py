"""Claim checks: a body too large for the queue lies in the object store, the message points there.

The object stays after the message is gone, as the same body may be delivered again: the bucket's
lifecycle rule for `messages/` removes it. Its key is its digest, so that sending twice stores once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedpipe.errors import BlobsUnavailableError, ContentLostError, MalformedMessageError
from embedpipe.ports import Blobs, Outgoing

PREFIX = "messages/"
_MARK = '{"claim_check":'
#: Copied beside the pointer, so that the job can be failed even when the object is lost.
_FENCE = ("tenant_id", "job_id", "epoch", "collection", "document_id", "document_version")


class _Pointer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field(max_length=1100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class _ClaimCheck(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    claim_check: _Pointer


def check_in(body: str, blobs: Blobs) -> str:
    """Store a body and give the message that stands for it.

    Raises
    ------
    BlobsUnavailableError
    """
    data = body.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    uri = blobs.put(f"{PREFIX}{sha256}", data)
    pointer = {"uri": uri, "sha256": sha256, "bytes": len(data)}
    return json.dumps({"claim_check": pointer, **_fence(body)}, separators=(",", ":"))


def all_ready(
    messages: Sequence[Outgoing],
    ready: Callable[[Outgoing], Outgoing],
    fits: Callable[[Outgoing], bool],
) -> list[Outgoing]:
    """Make messages ready to send; while the object store is away, those that need none.

    Parameters
    ----------
    ready
        Makes one ready; stores its body where it does not fit.

    Raises
    ------
    BlobsUnavailableError
        None is ready.
    """
    made: list[Outgoing] = []
    away: BlobsUnavailableError | None = None
    for message in messages:
        # Asked once: each try may take its time-out.
        if away is None or fits(message):
            try:
                made.append(ready(message))
            except BlobsUnavailableError as error:
                away = error
    if away is not None and not made:
        raise away
    return made


def resolve(body: str, blobs: Blobs) -> str:
    """Give the body that a message stands for; the body itself when it is no claim check.

    Raises
    ------
    MalformedMessageError
        A claim check that is not one of ours.
    ContentLostError
        The object is gone or is not what was stored.
    BlobsUnavailableError
    """
    if not body.startswith(_MARK):
        return body
    try:
        pointer = _ClaimCheck.model_validate_json(body).claim_check
    except ValidationError:
        raise MalformedMessageError("claim check does not match its schema") from None
    if not pointer.uri.endswith(f"/{PREFIX}{pointer.sha256}"):
        raise MalformedMessageError("claim check points outside of messages/")
    data = blobs.get(pointer.uri)
    if len(data) != pointer.bytes or hashlib.sha256(data).hexdigest() != pointer.sha256:
        raise ContentLostError("the claim check's object is not what was stored")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedMessageError("the claim check's object is not UTF-8") from None


def _fence(body: str) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(message, dict):
        return {}
    return {name: message[name] for name in _FENCE if name in message}
