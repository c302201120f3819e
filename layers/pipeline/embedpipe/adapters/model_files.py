"""Files of a model from S3, each written only once its bytes are known to be the pinned ones."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedpipe.errors import BlobsUnavailableError, ModelFilesError, NotFoundError
from embedpipe.models.directory import MANIFEST, MAX_MANIFEST_BYTES, Manifest, ModelDirectory

#: How long the list of what is in S3 is kept.
LISTED_S = 60.0

_PIECE_BYTES = 1 << 20
_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "404"})


class S3ModelFiles:
    """Models under an address such as `s3://bucket/models`: `<address>/<model id>/<file>`.

    Parameters
    ----------
    s3
        Gives the S3 client; called when the first file is needed.
    clock
        Seconds, for how long a list is kept.
    """

    def __init__(
        self,
        uri: str,
        s3: Callable[[], Any],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._s3 = s3
        self._clock = clock
        self._listed: tuple[float, set[str]] | None = None

    def model_ids(self) -> set[str]:
        """Name what may be models: whatever lies one level below the address.

        A list is kept for LISTED_S: who asks often does not pay a request of S3 each time, and a
        model that was just put there is not missing for long.

        Raises
        ------
        BlobsUnavailableError
            S3 does not answer, or refuses, or there is no such bucket.
        """
        listed, now = self._listed, self._clock()
        if listed is None or now - listed[0] >= LISTED_S:
            listed = self._listed = (now, set(self._list()))
        return set(listed[1])

    def _list(self) -> Iterator[str]:
        page: dict[str, str] = {}
        while True:
            try:
                with _s3_errors():
                    answer = self._s3().list_objects_v2(
                        Bucket=self._bucket, Prefix=self._prefix, Delimiter="/", **page
                    )
            except FileNotFoundError:
                # No list, which is not an empty one.
                raise BlobsUnavailableError("there is no bucket of models") from None
            for entry in answer.get("CommonPrefixes", []):
                yield entry["Prefix"].removeprefix(self._prefix).rstrip("/")
            if not answer.get("IsTruncated"):
                return
            page = {"ContinuationToken": answer["NextContinuationToken"]}

    def fetch_manifest(self, directory: Path) -> ModelDirectory:
        """Fetch the manifest of the model that the directory is named after.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND.
        ModelFilesError
            It is not valid, or of another model.
        BlobsUnavailableError
            S3 does not answer, or refuses.
        """
        try:
            data = b"".join(self._read(directory.name, MANIFEST, MAX_MANIFEST_BYTES))
        except FileNotFoundError:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND") from None
        try:
            manifest = Manifest.parse(data.decode("utf-8"))
        except UnicodeDecodeError:
            raise ModelFilesError(f"{MANIFEST} is not UTF-8") from None
        if manifest.model_id != directory.name:
            raise ModelFilesError(f"{MANIFEST} of {directory.name} is of {manifest.model_id}")
        _write(directory, MANIFEST, iter([data]))
        return ModelDirectory.read(directory)

    def fetch(self, directory: ModelDirectory, name: str) -> None:
        """Fetch one file of the manifest. Raises as `fetch_manifest`."""
        pinned = directory.manifest.files[name]
        digest = hashlib.sha256()

        def checked() -> Iterator[bytes]:
            for piece in self._read(directory.manifest.model_id, name, pinned.bytes):
                digest.update(piece)
                yield piece
            if digest.hexdigest() != pinned.sha256:
                raise ModelFilesError(f"{name} in S3 is not the file of the manifest")

        try:
            _write(directory.path, name, checked())
        except FileNotFoundError:
            raise ModelFilesError(f"{name} of {directory.manifest.model_id} is not in S3") from None

    def _read(self, model_id: str, name: str, max_bytes: int) -> Iterator[bytes]:
        """Give the pieces of an object. Raises FileNotFoundError when there is none."""
        total = 0
        with _s3_errors():
            answer = self._s3().get_object(
                Bucket=self._bucket, Key=f"{self._prefix}{model_id}/{name}"
            )
            for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
                total += len(piece)
                if total > max_bytes:
                    raise ModelFilesError(f"{name} in S3 is larger than expected")
                yield piece


@contextmanager
def _s3_errors() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        if exc.response.get("Error", {}).get("Code") in _ABSENT:
            raise FileNotFoundError from None
        raise BlobsUnavailableError("the models cannot be read from S3") from exc
    except BotoCoreError as exc:
        raise BlobsUnavailableError("the models cannot be read from S3") from exc


def _write(directory: Path, name: str, pieces: Iterator[bytes]) -> None:
    """Write a file that is either absent or whole, also when several processes write it."""
    directory.mkdir(parents=True, exist_ok=True)
    # Beside the directory, on the same file system, as a verified directory holds no other file.
    handle, scratch = tempfile.mkstemp(dir=directory.parent, prefix=".fetching-")
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
        Path(scratch).replace(directory / name)
    finally:
        Path(scratch).unlink(missing_ok=True)
