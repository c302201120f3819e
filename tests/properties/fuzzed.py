"""Bodies that a queue might give: valid ones, valid ones with something wrong, and junk."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from embedpipe.adapters import claim_check
from embedpipe.adapters.memory import FakeModels
from embedpipe.domain.tokens import pack
from embedpipe.messages import ChunkRequested, EmbedRequested, Message, StoreRequested
from embedpipe.ports import Blobs

FINGERPRINT = FakeModels().get("fake").fingerprint
#: Values that are at the edge of what some reader takes.
HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31 - 1, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308, 0.1),
    *("", " ", "\x00", "a\x00b", "\ud800", "\udfff", "\U0010ffff", "\u202e", "\ufeff", "é" * 300),
    *("1", "null", "{}", "[]", "NaN", "Infinity", "9" * 5000, "x" * 70_000, "../../etc/passwd"),
    *("2026-01-01T00:00:00Z", "-9999999-01-01T00:00:00Z", "s3://other/messages/" + "a" * 64),
    *("'; DROP TABLE jobs; --", "zzzzzzzz-0000-4000-8000-000000000000"),
    *([], {}, [[]], [None] * 1001, {"a": {"a": {"a": {}}}}, ["\x00"], [[1] * 50] * 50),
]
#: What is no JSON, or hardly.
JUNK = [
    *("", " ", "\x00", "{", "}", "[", "nul", "NaN", "-", '"', "'", "true", "null", "0", "[]"),
    *('"\\ud800"', "\ufeff{}", "{}{}", '{"a":1,}', '{"a":1,"a":2}', "\ud800", "\r\n" * 1000),
    *("[" * 200_000, '{"a":' * 100_000, "1" * 100_000, "-" + "9" * 4400, "1e" + "9" * 400),
    *('{"claim_check":', '{"claim_check":{}}', '{"claim_check":null}'),
    *('{"claim_check":' + "[" * 100_000, '{"job_id":"\\u0000"}', '"' + "\\u0000" * 10_000 + '"'),
]
CHARACTERS = ['"', "{", "}", "[", ",", ":", "\\", "\x00", "\ud800", "é", "9", "e", "-"]


def fence(rng: random.Random) -> dict[str, Any]:
    """What every message begins with."""
    return {
        "tenant_id": rng.choice(["acme", "globex", "nobody"]),
        "job_id": f"00000000-0000-4000-8000-{rng.randrange(50):012d}",
        "epoch": rng.choice([1, 1, 1, 2, 2**31 - 1]),
        "collection": "default",
        "document_id": rng.choice(["doc", "ä" * 256, "a/b c"]),
        "document_version": rng.choice([1, 1, 2]),
    }


def valid(rng: random.Random) -> Message:
    """One of the three messages, as a stage sends it."""
    kind = rng.randrange(4)
    if kind == 0:
        return ChunkRequested(**fence(rng), traceparent=rng.choice([None, "00-" + "a" * 50]))
    count = rng.randint(1, 4)
    batch = {
        **fence(rng),
        "batch_no": rng.choice([0, 1, 2**31 - 1]),
        "chunk_from": rng.randrange(100),
        "chunk_count": count,
        "model_id": "fake",
        "fingerprint": FINGERPRINT,
    }
    if kind == 1:
        ids = [[rng.randrange(100_000) for _ in range(rng.randint(1, 5))] for _ in range(count)]
        return EmbedRequested(**batch, tokens=pack(ids))
    if kind == 2:
        return EmbedRequested(**batch, texts=["text é \U0001f600"] * count)
    dimensions = rng.choice([1, 3, 32])
    vectors = base64.b64encode(rng.randbytes(4 * count * dimensions)).decode()
    return StoreRequested(**batch, dimensions=dimensions, vectors=vectors)


def bodies(rng: random.Random, blobs: Blobs) -> Iterator[str]:
    """Give bodies without end, one in ten of them valid."""
    makers: list[Callable[[random.Random, Blobs], str]] = [
        lambda rng, _: valid(rng).encode(),
        _with_fields_changed, _with_fields_changed, _with_fields_changed,
        _with_characters_changed, _with_characters_changed,
        _claimed, _claimed, _inflated,
        lambda rng, _: rng.choice(JUNK),
    ]  # fmt: skip
    while True:
        yield rng.choice(makers)(rng, blobs)


def _with_fields_changed(rng: random.Random, _blobs: Blobs) -> str:
    fields: dict[str, Any] = json.loads(valid(rng).encode())
    for _ in range(rng.randint(1, 3)):
        name = rng.choice([*fields, "surprise", "\x00", "msg_version"])
        act = rng.randrange(4)
        if act == 0:
            fields.pop(name, None)
        elif act == 1 and isinstance(fields.get(name), dict):
            inner = fields[name]
            inner[rng.choice([*inner, "more"])] = rng.choice(HOSTILE)
        else:
            fields[name] = rng.choice(HOSTILE)
    return json.dumps(fields, ensure_ascii=rng.random() < 0.7)


def _with_characters_changed(rng: random.Random, _blobs: Blobs) -> str:
    body = list(valid(rng).encode())
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(body))
        act = rng.randrange(4)
        if act == 0:
            del body[at : at + rng.randint(1, 20)]
        elif act == 1:
            body[at:at] = body[: rng.randrange(40)]
        else:
            body[at] = rng.choice(CHARACTERS)
        if not body:
            break
    return "".join(body)


def _claimed(rng: random.Random, blobs: Blobs) -> str:
    """A claim check; its object may be valid, changed, gone, no text, or somebody else's."""
    is_valid = rng.random() < 0.5
    inner = valid(rng).encode() if is_valid else _with_fields_changed(rng, blobs)
    body = claim_check.check_in(inner.encode(errors="replace").decode(), blobs)
    act = rng.randrange(6)
    pointer: dict[str, Any] = json.loads(body)
    if act == 0:
        pointer["claim_check"][rng.choice(["uri", "sha256", "bytes", "more"])] = rng.choice(HOSTILE)
    elif act == 1:
        blobs.delete(pointer["claim_check"]["uri"])
    elif act == 2:
        data = rng.choice([b"\xff\xfe", b"\x00" * 9, b"[" * 50_000, zlib.compress(b"x" * 9000)])
        sha256 = hashlib.sha256(data).hexdigest()
        uri = blobs.put(f"messages/{sha256}", data)
        pointer["claim_check"] = {"uri": uri, "sha256": sha256, "bytes": len(data)}
    elif act == 3:
        pointer |= {rng.choice([*pointer]): rng.choice(HOSTILE)}
    return json.dumps(pointer, separators=(",", ":"))


def _inflated(rng: random.Random, _blobs: Blobs) -> str:
    """Token blocks that announce less, or more, than they hold; some hold very much."""
    fields: dict[str, Any] = json.loads(
        EmbedRequested(
            **fence(rng), batch_no=0, chunk_from=0, chunk_count=1, model_id="fake",
            fingerprint=FINGERPRINT, tokens=pack([[1, 2, 3]]),
        ).encode()
    )  # fmt: skip
    data = _zeros(rng.choice([0, 1, 6, 7, 131_072, 60_000_000]))
    fields["tokens"] = {
        "dtype": rng.choice(["uint16", "uint32", "uint64"]),
        "lengths": [rng.choice([1, 3, 65_536, 65_537, -1, 10**12])],
        "data": base64.b64encode(data[: rng.choice([len(data), len(data) - 1])]).decode(),
    }
    return json.dumps(fields)


@cache
def _zeros(size_bytes: int) -> bytes:
    return zlib.compress(b"\x00" * size_bytes)
