from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from embedpipe.adapters.model_files import LISTED_S
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.errors import BlobsUnavailableError, ModelFilesError, NotFoundError
from embedpipe.models.directory import GRAPH, MANIFEST, TOKENIZER

from tests.tiny_model import MODEL_ID, a_manifest, a_tiny_model, the_tiny_model, with_w8

URI = "s3://bucket/models"


class Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        for begin in range(0, len(self.data), size):
            yield self.data[begin : begin + size]


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeS3:
    """An object store of one bucket; `asked` records the keys that were read."""

    def __init__(self, error: Exception | None = None, **changes: bytes) -> None:
        prefix = f"models/{MODEL_ID}/"
        self.objects = {
            prefix + path.name: path.read_bytes() for path in the_tiny_model().path.iterdir()
        }
        self.objects |= {prefix + name.replace("__", "."): data for name, data in changes.items()}
        self.error = error
        self.asked: list[str] = []

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        assert Bucket == "bucket"
        self.asked.append(Key)
        if self.error is not None:
            raise self.error
        if Key not in self.objects:
            raise an_error("NoSuchKey")
        return {"Body": Body(self.objects[Key])}

    def list_objects_v2(self, *, Bucket: str, Prefix: str, Delimiter: str) -> dict[str, Any]:  # noqa: N803
        assert Bucket == "bucket"
        self.asked.append(f"{Prefix}*")
        if self.error is not None:
            raise self.error
        below = [key.removeprefix(Prefix) for key in self.objects if key.startswith(Prefix)]
        found = {Prefix + key.partition(Delimiter)[0] + Delimiter for key in below}
        return {"CommonPrefixes": [{"Prefix": one} for one in sorted(found)]}


def an_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "GetObject")


def models_from(
    s3: FakeS3, models_dir: Path, uri: str = URI, clock: Clock | None = None
) -> ModelsDirectory:
    return ModelsDirectory(models_dir, uri=uri, s3=lambda: s3, clock=clock or Clock())


def test_a_missing_model_is_fetched_whole_and_verified(tmp_path: Path) -> None:
    models = models_from(FakeS3(), tmp_path / "models")

    directory = models.directory(MODEL_ID)

    assert directory.problems() == []
    assert directory.info == the_tiny_model().info
    assert [path.name for path in (tmp_path / "models").iterdir()] == [MODEL_ID]


def test_the_tokenizer_is_fetched_without_the_weights(tmp_path: Path) -> None:
    s3 = FakeS3()

    models_from(s3, tmp_path).tokenizer(MODEL_ID)

    assert s3.asked == [f"models/{MODEL_ID}/{MANIFEST}", f"models/{MODEL_ID}/{TOKENIZER}"]


def test_only_the_graph_of_the_precision_that_is_needed_is_fetched(tmp_path: Path) -> None:
    source = with_w8(a_tiny_model(tmp_path))
    s3 = FakeS3()
    s3.objects = {
        f"models/{MODEL_ID}/{path.name}": path.read_bytes() for path in source.path.iterdir()
    }

    directory = models_from(s3, tmp_path / "models").directory(MODEL_ID, "w8")

    assert directory.graph("w8").exists()
    assert s3.asked == [f"models/{MODEL_ID}/{MANIFEST}", f"models/{MODEL_ID}/model.w8.onnx"]


def test_a_precision_that_was_not_accepted_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="no fp16 graph"):
        models_from(FakeS3(), tmp_path).directory(MODEL_ID, "fp16")


def test_what_is_on_disk_is_not_fetched_again(tmp_path: Path) -> None:
    models_from(FakeS3(), tmp_path).directory(MODEL_ID)
    s3 = FakeS3()

    models_from(s3, tmp_path).directory(MODEL_ID)

    assert s3.asked == []


def test_the_client_is_not_made_before_it_is_needed() -> None:
    def unexpected() -> Any:
        pytest.fail("nothing has to be fetched")

    models = ModelsDirectory(the_tiny_model().path.parent, uri=URI, s3=unexpected)

    assert models.directory(MODEL_ID).info == the_tiny_model().info


def test_a_bucket_without_prefix_works(tmp_path: Path) -> None:
    s3 = FakeS3()
    s3.objects = {key.removeprefix("models/"): data for key, data in s3.objects.items()}

    assert models_from(s3, tmp_path, "s3://bucket").get(MODEL_ID) == the_tiny_model().info


def graph() -> bytes:
    return (the_tiny_model().path / GRAPH).read_bytes()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-1] + b"x", "not the file of the manifest"),
        (lambda data: data[:-1], "not the file of the manifest"),
        (lambda data: data + b"x", "larger than expected"),
    ],
)
def test_a_file_with_other_bytes_is_not_kept(
    tmp_path: Path, change: Callable[[bytes], bytes], reason: str
) -> None:
    models = models_from(FakeS3(model__onnx=change(graph())), tmp_path)

    with pytest.raises(ModelFilesError, match=reason):
        models.directory(MODEL_ID)

    assert not (tmp_path / MODEL_ID / GRAPH).exists()
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_ID]


def test_a_manifest_of_another_model_is_refused(tmp_path: Path) -> None:
    s3 = FakeS3()
    s3.objects["models/other/embedpipe.yaml"] = s3.objects[f"models/{MODEL_ID}/{MANIFEST}"]

    with pytest.raises(ModelFilesError, match="is of tiny"):
        models_from(s3, tmp_path).get("other")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"- no manifest", b"#" * 70_000])
def test_a_bad_manifest_is_not_kept(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelFilesError):
        models_from(FakeS3(embedpipe__yaml=data), tmp_path).get(MODEL_ID)

    assert not (tmp_path / MODEL_ID).exists()


def test_a_model_that_s3_does_not_have_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        models_from(FakeS3(), tmp_path).get("missing")

    assert caught.value.code == "MODEL_NOT_FOUND"


def test_a_file_that_s3_lacks_is_named(tmp_path: Path) -> None:
    s3 = FakeS3()
    del s3.objects[f"models/{MODEL_ID}/{GRAPH}"]

    with pytest.raises(ModelFilesError, match=r"model\.onnx of tiny is not in S3"):
        models_from(s3, tmp_path).directory(MODEL_ID)


@pytest.mark.parametrize(
    "error",
    [an_error("SlowDown"), an_error("AccessDenied"), EndpointConnectionError(endpoint_url="x")],
)
def test_an_outage_of_s3_is_transient_and_heals(tmp_path: Path, error: Exception) -> None:
    s3 = FakeS3(error)
    models = models_from(s3, tmp_path)
    with pytest.raises(BlobsUnavailableError):
        models.get(MODEL_ID)

    s3.error = None

    assert models.get(MODEL_ID) == the_tiny_model().info


# ------------------------------------------------------------------------------------------- lists


def test_a_list_needs_no_more_than_the_manifests(tmp_path: Path) -> None:
    s3 = FakeS3()

    listed = models_from(s3, tmp_path).all()

    assert listed == [the_tiny_model().info]
    assert s3.asked == ["models/*", f"models/{MODEL_ID}/{MANIFEST}"]


def test_a_list_is_kept_for_a_while_and_then_asked_for_again(tmp_path: Path) -> None:
    s3, clock = FakeS3(), Clock()
    models = models_from(s3, tmp_path, clock=clock)
    models.all()
    s3.objects[f"models/new/{MANIFEST}"] = a_manifest("new").dump().encode()
    s3.asked.clear()

    clock.now += LISTED_S - 1
    kept = [model.model_id for model in models.all()]
    clock.now += 1
    fresh = [model.model_id for model in models.all()]

    assert (kept, fresh) == ([MODEL_ID], ["new", MODEL_ID])
    assert s3.asked == ["models/*", f"models/new/{MANIFEST}"]


def test_a_damaged_model_is_left_out_and_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    s3 = FakeS3()
    s3.objects[f"models/broken/{MANIFEST}"] = b"format: 99"
    s3.objects["models/no-model/tokenizer.json"] = b"{}"
    models = models_from(s3, tmp_path)

    listed = [[model.model_id for model in models.all()] for _ in range(2)]

    assert listed == [[MODEL_ID], [MODEL_ID]]
    assert [record.getMessage() for record in caplog.records] == [
        "the model broken is left out: ModelFilesError"
    ]


def test_what_is_on_the_disk_alone_is_listed_beside_what_is_in_s3(tmp_path: Path) -> None:
    path = tmp_path / "mine" / MANIFEST
    path.parent.mkdir()
    path.write_text(a_manifest("mine").dump())

    listed = models_from(FakeS3(), tmp_path).all()

    assert [model.model_id for model in listed] == ["mine", MODEL_ID]


@pytest.mark.parametrize(
    "error",
    [
        an_error("SlowDown"),
        an_error("AccessDenied"),
        an_error("NoSuchBucket"),
        EndpointConnectionError(endpoint_url="x"),
    ],
)
def test_while_s3_does_not_answer_there_is_no_list_and_no_lack_is_remembered(
    tmp_path: Path, error: Exception
) -> None:
    a_tiny_model(tmp_path)
    s3 = FakeS3(error)
    models = models_from(s3, tmp_path)
    with pytest.raises(BlobsUnavailableError):
        models.all()

    s3.error = None

    assert models.all() == [the_tiny_model().info]


def test_an_outage_between_list_and_manifest_is_no_shorter_list(tmp_path: Path) -> None:
    s3 = FakeS3()
    models = models_from(s3, tmp_path)
    models._in_s3()
    s3.error = an_error("SlowDown")

    with pytest.raises(BlobsUnavailableError):
        models.all()


def test_what_is_on_the_disk_is_found_by_its_fingerprint_without_s3(tmp_path: Path) -> None:
    a_tiny_model(tmp_path)
    s3 = FakeS3(an_error("SlowDown"))
    models = models_from(s3, tmp_path)

    assert models.find(the_tiny_model().info.fingerprint) == the_tiny_model().info
    assert s3.asked == []
    with pytest.raises(BlobsUnavailableError):
        models.find("0" * 64)
