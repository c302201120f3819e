from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.response import StreamingBody
from embedpipe.adapters.s3 import S3Blobs
from embedpipe.errors import BlobsUnavailableError, ContentLostError


class FakeS3:
    """Answers every call with one object, or raises."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer
        self.calls: list[dict[str, Any]] = []

    def _call(self, **arguments: Any) -> dict[str, Any]:
        self.calls.append(arguments)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    get_object = put_object = delete_object = _call


def a_store(answer: dict[str, Any] | Exception) -> tuple[S3Blobs, FakeS3]:
    fake = FakeS3(answer)
    client: Any = fake
    return S3Blobs(lambda: client, "bucket"), fake


def an_object(data: bytes, **metadata: str) -> dict[str, Any]:
    return {"Body": StreamingBody(io.BytesIO(data), len(data)), "Metadata": metadata}


def a_client_error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )


def test_the_digest_goes_along() -> None:
    blobs, fake = a_store({})

    uri = blobs.put("messages/key", b"data")

    assert uri == "s3://bucket/messages/key"
    assert fake.calls[0]["Metadata"] == {"sha256": hashlib.sha256(b"data").hexdigest()}


def test_bytes_that_differ_from_their_digest_are_lost() -> None:
    blobs, _ = a_store(an_object(b"data", sha256="0" * 64))

    with pytest.raises(ContentLostError):
        blobs.get("s3://bucket/key")


def test_bytes_without_a_digest_are_taken() -> None:
    blobs, _ = a_store(an_object(b"data"))

    assert blobs.get("s3://bucket/key") == b"data"


def test_a_missing_object_is_lost() -> None:
    blobs, _ = a_store(a_client_error("NoSuchKey", 404))

    with pytest.raises(ContentLostError):
        blobs.get("s3://bucket/key")


@pytest.mark.parametrize(
    "error",
    [
        a_client_error("SlowDown", 503),
        a_client_error("NoSuchBucket", 404),
        a_client_error("AccessDenied", 403),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:9"),
    ],
)
def test_everything_else_is_an_outage(error: Exception) -> None:
    blobs, _ = a_store(error)

    with pytest.raises(BlobsUnavailableError):
        blobs.get("s3://bucket/key")
    with pytest.raises(BlobsUnavailableError):
        blobs.put("key", b"")
    with pytest.raises(BlobsUnavailableError):
        blobs.delete("s3://bucket/key")


def test_an_answer_that_breaks_off_is_an_outage() -> None:
    blobs, _ = a_store({"Body": StreamingBody(io.BytesIO(b"da"), 4), "Metadata": {}})

    with pytest.raises(BlobsUnavailableError):
        blobs.get("s3://bucket/key")
