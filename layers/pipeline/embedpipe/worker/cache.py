"""Vectors computed lately, so that the same input is not computed again."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from embedpipe.ports.models import Kind

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

    #: Token ids, or for a provider a text, with what it is for where the vector depends on it.
    CacheInput = Sequence[int] | str | tuple[Kind, str]

# What an entry takes besides its numbers: the key, its digest, the places in the dictionary.
ENTRY_BYTES = 400

_Key = tuple[str, str, bytes]


@dataclass(frozen=True)
class CacheCounts:
    """One reading. `hits` and `misses` only grow."""

    hits: int
    misses: int
    entries: int
    bytes: int


class VectorCache:
    """Vectors by tenant, fingerprint and exact input; the least recently used make room.

    The tenant is part of the key: by timing nobody finds out what another tenant embedded. Threads
    may call it at the same time.

    Parameters
    ----------
    max_bytes
        What all entries may take, about; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[_Key, bytes] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._lock = Lock()

    def get_many(
        self, tenant_id: str, fingerprint: str, inputs: Sequence[CacheInput]
    ) -> list[Floats | None]:
        """Give the vectors that are known, None for the others, in order.

        The arrays are the caller's own: float32, shape (dimensions,).
        """
        if not self._max_bytes:
            return [None] * len(inputs)
        keys = [(tenant_id, fingerprint, _digest(one)) for one in inputs]
        with self._lock:
            found = [self._entries.get(key) for key in keys]
            for key, data in zip(keys, found, strict=True):
                if data is not None:
                    self._entries.move_to_end(key)
            missed = found.count(None)
            self._misses += missed
            self._hits += len(found) - missed
        return [None if data is None else np.frombuffer(data, np.float32).copy() for data in found]

    def put_many(
        self,
        tenant_id: str,
        fingerprint: str,
        inputs: Sequence[CacheInput],
        vectors: Sequence[Floats] | Floats,
    ) -> None:
        """Keep vectors, one per input, in order. What is given may be changed afterwards."""
        if not self._max_bytes:
            return
        entries = [
            ((tenant_id, fingerprint, _digest(one)), np.asarray(vector, np.float32).tobytes())
            for one, vector in zip(inputs, vectors, strict=True)
        ]
        with self._lock:
            for key, data in entries:
                self._put(key, data)

    def forget(self, tenant_id: str) -> int:
        """Drop everything of a tenant; give the number of entries."""
        with self._lock:
            keys = [key for key in self._entries if key[0] == tenant_id]
            for key in keys:
                self._drop(self._entries.pop(key))
        return len(keys)

    def counts(self) -> CacheCounts:
        """Say how often it knew the vector, and what it holds."""
        with self._lock:
            return CacheCounts(self._hits, self._misses, len(self._entries), self._bytes)

    def _put(self, key: _Key, data: bytes) -> None:
        if len(data) + ENTRY_BYTES > self._max_bytes:
            return
        if (old := self._entries.pop(key, None)) is not None:
            self._drop(old)
        self._entries[key] = data
        self._bytes += len(data) + ENTRY_BYTES
        while self._bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._drop(oldest)

    def _drop(self, data: bytes) -> None:
        self._bytes -= len(data) + ENTRY_BYTES


def _digest(one: CacheInput) -> bytes:
    """Hash an input; each form begins with another byte, so that none can stand for another."""
    match one:
        case str():
            content = b"t" + one.encode("utf-8", "surrogatepass")
        case (str() as kind, str() as text):
            content = b"k" + kind.encode() + b"\0" + text.encode("utf-8", "surrogatepass")
        case _:
            content = b"i" + array("q", one).tobytes()
    return hashlib.sha256(content).digest()
