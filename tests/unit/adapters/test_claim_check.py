from __future__ import annotations

import hashlib
import json

import pytest
from embedpipe.adapters.claim_check import resolve
from embedpipe.adapters.memory import MemoryBlobs
from embedpipe.errors import MalformedMessageError


def test_an_object_that_is_not_text_is_refused_for_good() -> None:
    blobs, data = MemoryBlobs(), b"\xff"
    sha256 = hashlib.sha256(data).hexdigest()
    uri = blobs.put(f"messages/{sha256}", data)
    pointer = {"uri": uri, "sha256": sha256, "bytes": len(data)}
    body = json.dumps({"claim_check": pointer}, separators=(",", ":"))

    with pytest.raises(MalformedMessageError):
        resolve(body, blobs)
