"""The models of a deployment: those in the models folder, and those at providers."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedpipe.adapters.byte_tokenizer import ByteTokenizer
from embedpipe.adapters.catalogue_files import GetS3, default_model_id, models_dir, read_s3
from embedpipe.adapters.readable import Readable
from embedpipe.adapters.tokenizer import HuggingFaceTokenizer, ModelsDirectory
from embedpipe.errors import BlobsUnavailableError, ModelFilesError, NotFoundError
from embedpipe.models.catalogue import Catalogue, CatalogueError, LocalEntry, RemoteEntry
from embedpipe.models.manifest import TOKENIZER
from embedpipe.models.tokenizer_file import load_tokenizer
from embedpipe.ports.models import ModelInfo, Tokenizer

if TYPE_CHECKING:
    from embedpipe.models.directory import ModelDirectory
    from embedpipe.settings import ModelSettings

_MAX_TOKENIZER_BYTES = 64_000_000


class CatalogueModels:
    """The models that a catalogue names; without one, every directory of folder and bucket.

    Threads may share it. What a directory says is read when it is first asked for.

    Parameters
    ----------
    models_uri
        Where `tokenizer` files of remote entries are fetched from if they are not in the folder.
    """

    def __init__(
        self,
        catalogue: Catalogue | None,
        local: ModelsDirectory,
        models_dir: Path,
        *,
        models_uri: str | None = None,
        s3: GetS3 | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._local = local
        self._models_dir = models_dir
        self._models_uri = models_uri
        self._s3 = s3
        self._tokenizers: dict[str, Tokenizer] = {}
        self._lock = threading.RLock()
        self._readable = Readable(self.get)

    def get(self, model_id: str) -> ModelInfo:
        """Give one. Raises NotFoundError (MODEL_NOT_FOUND)."""
        entry = self._entry(model_id)
        if isinstance(entry, RemoteEntry):
            return entry.info(model_id)
        name = model_id if entry is None else entry.directory
        return replace(self._local.get(name), model_id=model_id)

    def tokenizer(self, model_id: str) -> Tokenizer:
        """Give a model's tokenizer, loaded once; of a model without one, what bounds lengths."""
        with self._lock:
            if model_id not in self._tokenizers:
                self._tokenizers[model_id] = self._load_tokenizer(model_id)
            return self._tokenizers[model_id]

    def find(self, fingerprint: str) -> ModelInfo:
        """Give the model of a fingerprint; an outage matters only if all others are others.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND.
        BlobsUnavailableError
            It is none of those that can be read now.
        """
        if self._catalogue is None:
            return self._local.find(fingerprint)
        outage: BlobsUnavailableError | None = None
        for model_id in sorted(self._catalogue.models):
            try:
                if (model := self.get(model_id)).fingerprint == fingerprint:
                    return model
            except BlobsUnavailableError as exc:
                outage = exc
            except (NotFoundError, ModelFilesError, OSError):
                continue
        raise outage or _not_found()

    def all(self) -> list[ModelInfo]:
        """List them by id. What is damaged or missing is left out, and logged once.

        Raises BlobsUnavailableError.
        """
        if self._catalogue is None:
            return self._local.all()
        return list(self._readable.of(self._catalogue.models))

    def providers(self) -> set[str]:
        """Name the services of the catalogue."""
        if self._catalogue is None:
            return self._local.providers()
        return {entry.provider for entry in self._catalogue.remote.values()}

    def directory(self, model_id: str) -> ModelDirectory:
        """Give the directory of a model of this machine, all its files there, named by the id.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND, also for a model at a provider.
        """
        entry = self._entry(model_id)
        if isinstance(entry, RemoteEntry):
            raise _not_found()
        directory = self._local.directory(model_id if entry is None else entry.directory)
        manifest = directory.manifest.model_copy(update={"model_id": model_id})
        return replace(directory, manifest=manifest)

    def remote(self, model_id: str) -> RemoteEntry:
        """Give the entry of a model at a provider. Raises NotFoundError (MODEL_NOT_FOUND)."""
        entry = self._entry(model_id)
        if not isinstance(entry, RemoteEntry):
            raise _not_found()
        return entry

    def _entry(self, model_id: str) -> LocalEntry | RemoteEntry | None:
        """Give the catalogue's entry, None without a catalogue."""
        if self._catalogue is None:
            return None
        try:
            return self._catalogue.models[model_id]
        except KeyError:
            raise _not_found() from None

    def _load_tokenizer(self, model_id: str) -> Tokenizer:
        entry = self._entry(model_id)
        if not isinstance(entry, RemoteEntry):
            name = model_id if entry is None else entry.directory
            tokenizer = self._local.tokenizer(name)
            return tokenizer if name == model_id else tokenizer.of(self.get(model_id))
        if entry.tokenizer is None:
            return ByteTokenizer(self.get(model_id))
        path = self._tokenizer_path(entry.tokenizer, entry.tokenizer_sha256)
        return HuggingFaceTokenizer(load_tokenizer(path), self.get(model_id))

    def _tokenizer_path(self, name: str, sha256: str | None) -> Path:
        """Give the file, fetched if it is not there, checked where its digest is given."""
        name = name if name.endswith(".json") else f"{name}/{TOKENIZER}"
        path = self._models_dir / name
        if path.is_file():
            data = path.read_bytes()
        elif self._models_uri is not None and sha256 is not None:
            uri = f"{self._models_uri.rstrip('/')}/{name}"
            data = read_s3(uri, self._s3, max_bytes=_MAX_TOKENIZER_BYTES)
        else:
            raise ModelFilesError(f"there is no {name} among the models")
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ModelFilesError(f"{name} is not the file of the catalogue")
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f".fetching-{threading.get_ident()}-{path.name}")
            scratch.write_bytes(data)
            scratch.replace(path)
        return path


def catalogue_models(
    settings: ModelSettings, catalogue: Catalogue | None, s3: GetS3 | None = None
) -> CatalogueModels:
    """Give the models that settings and catalogue name.

    Raises
    ------
    CatalogueError
        The default model is none of the catalogue's.
    """
    chosen = default_model_id(settings, catalogue)
    if catalogue is not None and chosen not in catalogue.models:
        raise CatalogueError(f"the catalogue has no model {chosen}, which is the default")
    folder = models_dir(settings, catalogue)
    local = ModelsDirectory(folder, uri=settings.models_uri, s3=s3)
    return CatalogueModels(catalogue, local, folder, models_uri=settings.models_uri, s3=s3)


def _not_found() -> NotFoundError:
    return NotFoundError("there is no such model", code="MODEL_NOT_FOUND")
