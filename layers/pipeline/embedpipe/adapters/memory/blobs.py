"""An object store in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Lock

from embedpipe.errors import BlobsUnavailableError, ContentLostError
from embedpipe.ports import StoredBlob


class MemoryBlobs:
    """An object store in a dict. Several threads may use it.

    Attributes
    ----------
    objects
        The bytes by URI; open to tests.
    changed_at
        When each was put last; open to tests.
    is_available
        Set it False and every call raises BlobsUnavailableError, as in an outage.
    """

    def __init__(self, bucket: str = "memory") -> None:
        self.objects: dict[str, bytes] = {}
        self.changed_at: dict[str, datetime] = {}
        self.is_available = True
        self._root = f"s3://{bucket}/"
        self._lock = Lock()

    def put(self, key: str, data: bytes) -> str:
        """Store bytes under a key and give their URI."""
        uri = f"{self._root}{key}"
        with self._lock:
            self._check()
            self.objects[uri] = bytes(data)
            self.changed_at[uri] = datetime.now(UTC)
        return uri

    def get(self, uri: str) -> bytes:
        """Read bytes. Raises ContentLostError when they are gone."""
        with self._lock:
            self._check()
            try:
                return self.objects[uri]
            except KeyError:
                raise ContentLostError from None

    def delete(self, uri: str) -> None:
        """Remove bytes; no error when they are gone."""
        with self._lock:
            self._check()
            self.objects.pop(uri, None)

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[StoredBlob]:
        """List objects by key, after a given one; fewer than `limit`, at most 1,000, at the end."""
        with self._lock:
            self._check()
            keys = sorted(uri.removeprefix(self._root) for uri in self.objects)
            found = [key for key in keys if key.startswith(prefix) and key > after]
            return [
                StoredBlob(key, self._root + key, self.changed_at[self._root + key])
                for key in found[: min(limit, 1000)]
            ]

    def _check(self) -> None:
        if not self.is_available:
            raise BlobsUnavailableError
