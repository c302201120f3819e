"""Where the model catalogue is read from, and what else of the settings it decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedpipe.errors import BlobsUnavailableError, ModelFilesError
from embedpipe.models.catalogue import (
    CATALOGUE,
    MAX_CATALOGUE_BYTES,
    Catalogue,
    CatalogueError,
)

if TYPE_CHECKING:
    from embedpipe.settings import EmbedSettings, ModelSettings

_ABSENT = frozenset({"NoSuchKey", "404"})

GetS3 = Callable[[], Any]


def load_catalogue(settings: ModelSettings, s3: GetS3 | None = None) -> Catalogue | None:
    """Read the catalogue: MODEL_CATALOGUE, or else the one beside the models, or None.

    Raises
    ------
    CatalogueError
        It is not valid, or the one that is named is not there.
    BlobsUnavailableError
        S3 does not answer.
    """
    named = settings.model_catalogue
    if named is not None:
        found = _read(named, s3)
        if found is None:
            raise CatalogueError(f"{named}: there is no such file")
        return Catalogue.parse(found, named)
    places = [str(settings.models_dir / CATALOGUE)]
    if settings.models_uri is not None:
        places.append(f"{settings.models_uri.rstrip('/')}/{CATALOGUE}")
    for place in places:
        if (text := _read(place, s3)) is not None:
            return Catalogue.parse(text, place)
    return None


def default_model_id(settings: ModelSettings, catalogue: Catalogue | None) -> str:
    """Give the default model: DEFAULT_MODEL_ID if it is set, then the catalogue's."""
    if "default_model_id" in settings.model_fields_set or catalogue is None:
        return settings.default_model_id
    return catalogue.default_model_id or settings.default_model_id


def models_dir(settings: ModelSettings, catalogue: Catalogue | None) -> Path:
    """Give the models folder: MODELS_DIR if it is set, then the catalogue's.

    A relative path of the catalogue begins where the process was started.
    """
    if "models_dir" in settings.model_fields_set or catalogue is None:
        return settings.models_dir
    return Path(catalogue.model_storage_base_dir or settings.models_dir)


def pool_bounds(settings: EmbedSettings, catalogue: Catalogue | None) -> tuple[int, int, float]:
    """Give how many models a worker holds, in how many bytes, and for how many seconds unused.

    A variable that is set wins over the catalogue.
    """
    number, size = settings.max_models, settings.max_models_bytes
    timeout_s = settings.unload_timeout_s
    if catalogue is None:
        return number, size, timeout_s
    given = settings.model_fields_set
    if catalogue.max_models is not None and "max_models" not in given:
        number = catalogue.max_models
    if catalogue.max_memory_gb is not None and "max_models_bytes" not in given:
        size = int(catalogue.max_memory_gb * 1e9)
    if catalogue.model_unload_timeout is not None and "unload_timeout_s" not in given:
        timeout_s = catalogue.model_unload_timeout
    return number, size, timeout_s


def _read(place: str, s3: GetS3 | None) -> str | None:
    """Give the text of a file, None if there is none."""
    try:
        if place.startswith("s3://"):
            data = read_s3(place, s3, max_bytes=MAX_CATALOGUE_BYTES + 1)
        else:
            with Path(place).open("rb") as file:
                data = file.read(MAX_CATALOGUE_BYTES + 1)
    except (FileNotFoundError, ModelFilesError):
        return None
    except OSError as exc:
        raise CatalogueError(f"{place}: cannot be read ({type(exc).__name__})") from None
    if len(data) > MAX_CATALOGUE_BYTES:
        raise CatalogueError(f"{place}: larger than {MAX_CATALOGUE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CatalogueError(f"{place}: not UTF-8") from None


def read_s3(uri: str, s3: GetS3 | None, *, max_bytes: int) -> bytes:
    """Give the first bytes of an object.

    Raises
    ------
    ModelFilesError
        There is none.
    BlobsUnavailableError
        S3 does not answer, or refuses.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    from embedpipe.adapters.aws import client

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        answer = (s3 or (lambda: client("s3")))().get_object(Bucket=bucket, Key=key)
        data: bytes = answer["Body"].read(max_bytes)
    except ClientError as exc:
        if exc.response.get("Error", {}).get("Code") in _ABSENT:
            raise ModelFilesError(f"there is no {key.rpartition('/')[2]} in S3") from None
        raise BlobsUnavailableError("the models cannot be read from S3") from exc
    except BotoCoreError as exc:
        raise BlobsUnavailableError("the models cannot be read from S3") from exc
    return data
