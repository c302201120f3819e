from __future__ import annotations

import hashlib
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from embedpipe.adapters.byte_tokenizer import ByteTokenizer
from embedpipe.adapters.catalogue import CatalogueModels, catalogue_models
from embedpipe.adapters.catalogue_files import (
    default_model_id,
    load_catalogue,
    models_dir,
    pool_bounds,
)
from embedpipe.adapters.tokenizer import HuggingFaceTokenizer, ModelsDirectory
from embedpipe.errors import BlobsUnavailableError, ModelFilesError, NotFoundError
from embedpipe.models.catalogue import Catalogue, CatalogueError
from embedpipe.models.directory import TOKENIZER
from embedpipe.ports.models import ModelInfo
from embedpipe.settings import EmbedSettings, ModelSettings

from tests.tiny_model import MODEL_ID, the_tiny_model

TEXT = f"""
default_model_id: mine
models:
  mine: {{provider: huggingface, model_name_or_path: somebody/{MODEL_ID}}}
  gone: {{provider: onnx, model_name_or_path: gone}}
  remote: {{provider: openai, model_name_or_path: text-embedding-3-small}}
"""
SMALL = "models: {remote: {provider: openai, model_name_or_path: text-embedding-3-small}}"


class FakeS3:
    def __init__(self, error: Exception | None = None, **objects: bytes) -> None:
        self.objects = {name.replace("__", "/"): data for name, data in objects.items()}
        self.error = error

    def put(self, key: str, data: bytes) -> FakeS3:
        self.objects[key] = data
        return self

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if self.error is not None:
            raise self.error
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": BytesIO(self.objects[Key])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A models folder with one model in it."""
    shutil.copytree(the_tiny_model().path, tmp_path / "models" / MODEL_ID)
    return tmp_path / "models"


def models_in(folder: Path, text: str | None = TEXT, **options: Any) -> CatalogueModels:
    catalogue = None if text is None else Catalogue.parse(text)
    return CatalogueModels(catalogue, ModelsDirectory(folder), folder, **options)


def settings_of(**values: Any) -> ModelSettings:
    return ModelSettings.model_validate(values)


def test_a_model_of_the_folder_has_the_id_of_its_entry(folder: Path) -> None:
    models = models_in(folder)

    info, directory = models.get("mine"), models.directory("mine")

    original = the_tiny_model().info
    assert (info.model_id, info.fingerprint) == ("mine", original.fingerprint)
    assert directory.info == info
    assert directory.file(TOKENIZER).is_file()
    assert models.tokenizer("mine").model == info
    assert models.tokenizer("mine") is models.tokenizer("mine")


def test_a_remote_model_has_no_directory_and_a_tokenizer_that_bounds_lengths(
    folder: Path,
) -> None:
    models = models_in(folder)

    assert models.get("remote").provider == "openai"
    assert isinstance(models.tokenizer("remote"), ByteTokenizer)
    assert models.remote("remote").model_name_or_path == "text-embedding-3-small"
    with pytest.raises(NotFoundError):
        models.directory("remote")
    with pytest.raises(NotFoundError):
        models.remote("mine")


@pytest.mark.parametrize("model_id", ["other", MODEL_ID, "gone", "../x"])
def test_what_the_catalogue_does_not_name_is_no_model(folder: Path, model_id: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        models_in(folder).get(model_id)

    assert raised.value.code == "MODEL_NOT_FOUND"


def test_all_leaves_out_what_is_not_at_hand(folder: Path) -> None:
    assert [model.model_id for model in models_in(folder).all()] == ["mine", "remote"]


def an_outage(model_id: str) -> ModelInfo:
    raise BlobsUnavailableError


def test_a_model_of_the_catalogue_that_is_not_there_is_left_out_and_said_so_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = models_in(folder)

    listed = [[model.model_id for model in models.all()] for _ in range(2)]

    assert listed == [["mine", "remote"]] * 2
    assert caplog.messages == ["the model gone is left out: NotFoundError"]


def test_a_list_without_what_s3_has_is_no_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_in(folder)
    monkeypatch.setattr(models._local, "get", an_outage)

    with pytest.raises(BlobsUnavailableError):
        models.all()


def test_a_model_of_the_catalogue_is_found_by_its_fingerprint(folder: Path) -> None:
    models = models_in(folder)

    assert models.find(the_tiny_model().info.fingerprint).model_id == "mine"
    assert models.find(models.get("remote").fingerprint).model_id == "remote"
    with pytest.raises(NotFoundError):
        models.find("0" * 64)


def test_an_outage_hides_only_the_models_that_lie_in_s3(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_in(folder)
    fingerprint = models.get("remote").fingerprint
    monkeypatch.setattr(models._local, "get", an_outage)

    assert models.find(fingerprint).model_id == "remote"
    with pytest.raises(BlobsUnavailableError):
        models.find("0" * 64)


def test_the_providers_are_known_without_reading_a_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_in(folder)
    monkeypatch.setattr(models._local, "get", an_outage)

    assert models.providers() == {"openai"}
    assert models_in(folder, None).providers() == set()


def test_without_a_catalogue_every_directory_is_a_model(folder: Path) -> None:
    models = models_in(folder, None)

    assert [model.model_id for model in models.all()] == [MODEL_ID]
    assert models.get(MODEL_ID) == the_tiny_model().info
    assert models.tokenizer(MODEL_ID).model == the_tiny_model().info
    assert models.directory(MODEL_ID).info == the_tiny_model().info
    assert models.find(the_tiny_model().info.fingerprint) == the_tiny_model().info
    with pytest.raises(NotFoundError):
        models.remote(MODEL_ID)


# ------------------------------------------------------------------------------------- tokenizers


def with_tokenizer(**fields: str) -> str:
    extra = "".join(f", {name}: {value}" for name, value in fields.items())
    return SMALL.replace("}}", extra + "}}")


@pytest.mark.parametrize("name", [MODEL_ID, f"{MODEL_ID}/{TOKENIZER}"])
def test_a_remote_model_can_have_a_tokenizer_of_its_own(folder: Path, name: str) -> None:
    models = models_in(folder, with_tokenizer(tokenizer=name))

    tokenizer = models.tokenizer("remote")

    assert isinstance(tokenizer, HuggingFaceTokenizer)
    assert tokenizer.model == models.get("remote")
    assert models.get("remote").has_tokenizer
    assert len(tokenizer.encode(["a b"])[0]) == 4


def test_a_pinned_tokenizer_is_fetched_and_checked(folder: Path, tmp_path: Path) -> None:
    data = (folder / MODEL_ID / TOKENIZER).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    s3 = FakeS3().put("models/own/tokenizer.json", data)
    text = with_tokenizer(tokenizer="own", tokenizer_sha256=digest)
    empty = tmp_path / "empty"

    models = models_in(empty, text, models_uri="s3://bucket/models", s3=lambda: s3)
    models.tokenizer("remote")

    assert [path.name for path in (empty / "own").iterdir()] == [TOKENIZER]


def test_a_tokenizer_that_is_not_the_pinned_one_is_refused_and_not_kept(tmp_path: Path) -> None:
    s3 = FakeS3().put("models/own/tokenizer.json", b"{}")
    text = with_tokenizer(tokenizer="own", tokenizer_sha256="a" * 64)
    models = models_in(tmp_path, text, models_uri="s3://bucket/models", s3=lambda: s3)

    with pytest.raises(ModelFilesError, match="is not the file of the catalogue"):
        models.tokenizer("remote")

    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_that_nobody_pinned_is_not_fetched(tmp_path: Path) -> None:
    s3 = FakeS3().put("models/own/tokenizer.json", b"{}")
    text = with_tokenizer(tokenizer="own")
    models = models_in(tmp_path, text, models_uri="s3://bucket/models", s3=lambda: s3)

    with pytest.raises(ModelFilesError):
        models.tokenizer("remote")


# --------------------------------------------------------------------------------- where it stands


def test_the_named_catalogue_is_read(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(SMALL)

    catalogue = load_catalogue(settings_of(model_catalogue=str(path)))

    assert catalogue is not None
    assert list(catalogue.models) == ["remote"]


def test_a_named_catalogue_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="there is no such file"):
        load_catalogue(settings_of(model_catalogue=str(tmp_path / "none.yaml")))
    with pytest.raises(CatalogueError, match="there is no such file"):
        load_catalogue(settings_of(model_catalogue="s3://bucket/x.yaml"), lambda: FakeS3())


def test_the_catalogue_beside_the_models_is_found(folder: Path) -> None:
    (folder / "catalogue.yaml").write_text(SMALL)

    catalogue = load_catalogue(settings_of(models_dir=folder))

    assert catalogue is not None


def test_the_catalogue_in_s3_is_found(tmp_path: Path) -> None:
    s3 = FakeS3().put("models/catalogue.yaml", SMALL.encode())
    settings = settings_of(models_dir=tmp_path, models_uri="s3://bucket/models/")

    assert load_catalogue(settings, lambda: s3) is not None
    assert load_catalogue(settings, lambda: FakeS3()) is None
    assert load_catalogue(settings_of(models_dir=tmp_path)) is None


def test_a_store_that_does_not_answer_is_no_missing_catalogue(tmp_path: Path) -> None:
    s3 = FakeS3(EndpointConnectionError(endpoint_url="x"))
    settings = settings_of(models_dir=tmp_path, models_uri="s3://bucket/models")

    with pytest.raises(BlobsUnavailableError):
        load_catalogue(settings, lambda: s3)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"#" * 1_048_577])
def test_what_cannot_be_a_catalogue_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_bytes(data)

    with pytest.raises(CatalogueError, match=r"catalogue\.yaml"):
        load_catalogue(settings_of(models_dir=tmp_path))


# ------------------------------------------------------------------------ settings and catalogue


def test_the_environment_wins_over_the_catalogue() -> None:
    catalogue = Catalogue.parse(TEXT + "model_storage_base_dir: here\n")

    assert default_model_id(settings_of(), catalogue) == "mine"
    assert default_model_id(settings_of(default_model_id="remote"), catalogue) == "remote"
    assert default_model_id(settings_of(), None) == "all-MiniLM-L6-v2"
    assert models_dir(settings_of(), catalogue) == Path("here")
    assert models_dir(settings_of(models_dir="there"), catalogue) == Path("there")
    assert models_dir(settings_of(), None) == Path("/tmp/models")


def test_the_default_model_is_one_of_the_catalogue(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no model all-MiniLM-L6-v2, which is the default"):
        catalogue_models(settings_of(models_dir=tmp_path), Catalogue.parse(SMALL))


def test_models_are_those_of_settings_and_catalogue(folder: Path) -> None:
    models = catalogue_models(settings_of(models_dir=folder), Catalogue.parse(TEXT))

    assert models.get("mine").model_id == "mine"


def test_bounds_of_the_catalogue_hold_where_no_variable_says_otherwise() -> None:
    required = ("DATABASE_URL", "EMBED_QUEUE_URL", "EMBED_DLQ_URL", "STORE_QUEUE_URL")
    environment = dict.fromkeys((*required, "CONTENT_BUCKET"), "x")
    catalogue = Catalogue.parse(
        SMALL + "\nmax_models: 2\nmax_memory_gb: 1.5\nmodel_unload_timeout: 60\n"
    )
    plain = EmbedSettings.from_environment(environment)
    given = EmbedSettings.from_environment(environment | {"EMBED_MAX_MODELS": "9"})

    assert pool_bounds(plain, catalogue) == (2, 1_500_000_000, 60.0)
    assert pool_bounds(given, catalogue) == (9, 1_500_000_000, 60.0)
    assert pool_bounds(plain, None) == (5, 24_000_000_000, plain.unload_timeout_s)
