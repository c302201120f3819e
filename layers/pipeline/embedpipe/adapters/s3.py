"""The object store on S3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embedpipe.adapters.aws import error_code
from embedpipe.errors import BlobsUnavailableError, ContentLostError
from embedpipe.ports import StoredBlob

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_GONE = frozenset({"NoSuchKey", "404"})


class S3Blobs:
    """Blobs in one bucket; URIs of other buckets are refused.

    Reading needs s3:ListBucket beside s3:GetObject: without it S3 answers 403 for an object that is
    gone, which looks like an outage.

    Parameters
    ----------
    client
        Gives the client; called on first use, as most invocations need none.
    """

    def __init__(self, client: Callable[[], S3Client], bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._root = f"s3://{bucket}/"

    def put(self, key: str, data: bytes) -> str:
        """Store bytes under a key, with their digest, and give their URI."""
        with _translated():
            self._client().put_object(
                Bucket=self._bucket,
                Key=key,
                Body=data,
                Metadata={"sha256": hashlib.sha256(data).hexdigest()},
            )
        return f"{self._root}{key}"

    def get(self, uri: str) -> bytes:
        """Read bytes and check their digest.

        Raises
        ------
        ContentLostError
            They are gone, or are not what was stored.
        BlobsUnavailableError
        """
        with _translated():
            answer = self._client().get_object(Bucket=self._bucket, Key=self._key(uri))
            data = answer["Body"].read()
        sha256 = answer["Metadata"].get("sha256")
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ContentLostError("the object is not what was stored")
        return data

    def delete(self, uri: str) -> None:
        """Remove bytes; no error when they are gone."""
        with _translated():
            self._client().delete_object(Bucket=self._bucket, Key=self._key(uri))

    def list(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[StoredBlob]:
        """List objects by key, after a given one; fewer than `limit`, at most 1,000, at the end."""
        with _translated():
            answer = self._client().list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, StartAfter=after, MaxKeys=min(limit, 1000)
            )
        return [
            StoredBlob(entry["Key"], f"{self._root}{entry['Key']}", entry["LastModified"])
            for entry in answer.get("Contents", [])
        ]

    def _key(self, uri: str) -> str:
        if not uri.startswith(self._root):
            raise ContentLostError("the object is not in our bucket")
        return uri.removeprefix(self._root)


@contextmanager
def _translated() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        if error_code(exc.response) in _GONE:
            raise ContentLostError from exc
        raise BlobsUnavailableError from exc
    except BotoCoreError as exc:
        raise BlobsUnavailableError from exc
