"""An object store in memory."""

from __future__ import annotations

from threading import Lock

from embedpipe.errors import BlobsUnavailableError, ContentLostError


class MemoryBlobs:
    """An object store in a dict. Several threads may use it.

    Attributes
    ----------
    objects
        The bytes by URI; open to tests.
    is_available
        Set it False and every call raises BlobsUnavailableError, as in an outage.
    """

    def __init__(self, bucket: str = "memory") -> None:
        self.objects: dict[str, bytes] = {}
        self.is_available = True
        self._root = f"s3://{bucket}/"
        self._lock = Lock()

    def put(self, key: str, data: bytes) -> str:
        """Store bytes under a key and give their URI."""
        uri = f"{self._root}{key}"
        with self._lock:
            self._check()
            self.objects[uri] = bytes(data)
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

    def _check(self) -> None:
        if not self.is_available:
            raise BlobsUnavailableError
