"""One prepared model on disk: a manifest, and the files that it names and pins."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from embedpipe.errors import ModelFilesError
from embedpipe.models.fingerprint import sha256_of
from embedpipe.models.manifest import (
    FP32,
    GRAPH,
    MANIFEST,
    PRECISIONS,
    TOKENIZER,
    Manifest,
    ModelId,
    PinnedFile,
    Pooling,
    Precision,
)
from embedpipe.ports.models import ModelInfo

__all__ = [
    "FP32",
    "GRAPH",
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "PRECISIONS",
    "TOKENIZER",
    "Manifest",
    "ModelDirectory",
    "ModelId",
    "PinnedFile",
    "Pooling",
    "Precision",
]

MAX_MANIFEST_BYTES = 65_536


@dataclass(frozen=True)
class ModelDirectory:
    """A directory with a valid manifest. Its files are checked when they are asked for."""

    path: Path
    manifest: Manifest

    @classmethod
    def read(cls, path: Path) -> ModelDirectory:
        """Read the manifest of a directory.

        Raises
        ------
        FileNotFoundError
            There is none.
        ModelFilesError
            It is a link, too large or not valid, or the directory is not named as the model.
        """
        _regular(path, MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
        try:
            text = (path / MANIFEST).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ModelFilesError(f"{MANIFEST} is not UTF-8") from None
        manifest = Manifest.parse(text)
        if manifest.model_id != path.name:
            raise ModelFilesError(f"the directory {path.name} holds the model {manifest.model_id}")
        return cls(path, manifest)

    @property
    def info(self) -> ModelInfo:
        """What the stages need to know of the model."""
        return self.manifest.info

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What its graph was accepted in; fp32 always."""
        return self.manifest.precisions

    def graph(self, precision: str = FP32) -> Path:
        """Give the graph of a precision, its bytes verified now, and those of its data files.

        Raises
        ------
        FileNotFoundError
            A file is not there.
        ModelFilesError
            The precision was not accepted, or a file is not the pinned one.
        """
        graph, *data = self.manifest.graph_files(precision)
        for name in data:
            self.file(name)
        return self.file(graph)

    def file(self, name: str) -> Path:
        """Give the path of a file of the manifest, its bytes verified now.

        Raises
        ------
        FileNotFoundError
            It is not there.
        ModelFilesError
            It is not in the manifest, is a link, or its bytes are not the pinned ones.
        """
        pinned = self.manifest.files.get(name)
        if pinned is None:
            raise ModelFilesError(f"{name} is not a file of {self.manifest.model_id}")
        size = _regular(self.path, name)
        if size != pinned.bytes or sha256_of(self.path / name) != pinned.sha256:
            raise ModelFilesError(f"{name} of {self.manifest.model_id} is not the pinned file")
        return self.path / name

    def problems(self) -> list[str]:
        """Check every file; give one sentence per problem, none when all is well."""
        found = []
        for name in sorted(self.manifest.files):
            try:
                self.file(name)
            except FileNotFoundError:
                found.append(f"{name} is missing")
            except ModelFilesError as exc:
                found.append(exc.message)
        allowed = {MANIFEST, *self.manifest.files}
        extra = sorted(entry.name for entry in self.path.iterdir() if entry.name not in allowed)
        return found + [f"{name} is not in the manifest" for name in extra]


def _regular(directory: Path, name: str, *, max_bytes: int | None = None) -> int:
    if directory.is_symlink():
        raise ModelFilesError(f"{directory.name} is a link")
    status = (directory / name).lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ModelFilesError(f"{name} is not a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise ModelFilesError(f"{name} is larger than {max_bytes} bytes")
    return status.st_size
