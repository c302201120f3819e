"""What models are listed and found, wherever their directories lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from embedpipe.adapters.model_files import LISTED_S
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.errors import BlobsUnavailableError, NotFoundError
from embedpipe.models.directory import MANIFEST, TOKENIZER

from tests.contract.conftest import Clock
from tests.localstack import backends
from tests.tiny_model import a_manifest, the_tiny_model

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass
class Shelf:
    """Where models are put, and what reads them from there with a disk of its own."""

    write: Callable[[str, bytes], object]
    models: ModelsDirectory
    clock: Clock

    def put(self, *model_ids: str) -> None:
        """Put models there, and let the time pass after which they are seen."""
        for model_id in model_ids:
            self.write(f"{model_id}/{MANIFEST}", a_manifest(model_id).dump().encode())
            tokenizer = (the_tiny_model().path / TOKENIZER).read_bytes()
            self.write(f"{model_id}/{TOKENIZER}", tokenizer)
        self.clock.advance(LISTED_S)

    def listed(self) -> list[str]:
        """Give the ids of all models."""
        return [model.model_id for model in self.models.all()]


class TwoAtATime:
    """A client of S3 whose pages are short."""

    def __init__(self, client: S3Client) -> None:
        self._client = client
        self.get_object = client.get_object

    def list_objects_v2(self, **asked: Any) -> Any:
        return self._client.list_objects_v2(**asked, MaxKeys=2)


@pytest.fixture(params=backends("disk", "moto", "ministack"))
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    if request.param == "disk":
        return a_folder(tmp_path)
    clients = request.getfixturevalue(f"{request.param}_clients")
    return a_bucket(clients[1], tmp_path)


@pytest.fixture
def moto_clients() -> Iterator[tuple[None, S3Client]]:
    moto = pytest.importorskip("moto")
    import boto3

    with moto.mock_aws():
        make: Any = boto3.Session("test", "test", region_name="us-east-1").client
        s3 = make("s3")
        yield None, s3
        s3.close()


def a_folder(folder: Path) -> Shelf:
    def write(name: str, data: bytes) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    clock = Clock()
    return Shelf(write, ModelsDirectory(folder, clock=clock), clock)


def a_bucket(s3: S3Client, disk: Path, name: str | None = None) -> Shelf:
    bucket = name or f"models-{uuid4().hex}"
    if name is None:
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="documents/other/embedpipe.yaml", Body=b"")
        s3.put_object(Bucket=bucket, Key="models/catalogue.txt", Body=b"")

    def write(key: str, data: bytes) -> None:
        s3.put_object(Bucket=bucket, Key=f"models/{key}", Body=data)

    clock = Clock()
    uri = f"s3://{bucket}/models"
    models = ModelsDirectory(disk, uri=uri, s3=lambda: TwoAtATime(s3), clock=clock)
    return Shelf(write, models, clock)


def test_every_model_is_listed_by_id(shelf: Shelf) -> None:
    shelf.put("e", "b", "d", "a", "c")

    assert shelf.listed() == ["a", "b", "c", "d", "e"]
    assert shelf.models.all()[1] == a_manifest("b").info


def test_where_no_model_is_none_is_listed(shelf: Shelf) -> None:
    assert shelf.listed() == []


def test_what_is_damaged_or_no_model_is_left_out(shelf: Shelf) -> None:
    shelf.put("a", "c")
    shelf.write("b/embedpipe.yaml", b"format: 99")
    shelf.write("d/tokenizer.json", b"{}")
    shelf.write("not a model/embedpipe.yaml", b"")

    assert shelf.listed() == ["a", "c"]


def test_a_model_that_is_put_there_later_is_listed(shelf: Shelf) -> None:
    shelf.put("a")
    before = shelf.listed()

    shelf.put("b")

    assert (before, shelf.listed()) == (["a"], ["a", "b"])


def test_a_model_is_found_by_its_fingerprint(shelf: Shelf) -> None:
    shelf.put("a", "b", "c")

    assert shelf.models.find(a_manifest("b").fingerprint) == a_manifest("b").info
    with pytest.raises(NotFoundError):
        shelf.models.find("0" * 64)


def test_what_is_listed_can_be_used(shelf: Shelf) -> None:
    shelf.put("a")
    [model] = shelf.models.all()

    assert shelf.models.tokenizer(model.model_id).encode(["a b"]) == [[2, 4, 5, 3]]


@pytest.mark.parametrize("backend", backends("moto", "ministack"))
def test_a_bucket_that_is_not_there_has_no_list_instead_of_an_empty_one(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shelf = a_bucket(request.getfixturevalue(f"{backend}_clients")[1], tmp_path, "no-such-bucket")

    with pytest.raises(BlobsUnavailableError):
        shelf.models.all()
