"""One prepared model on disk: a manifest, and the files that it names and pins."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from embedpipe.errors import ModelFilesError
from embedpipe.models.fingerprint import fingerprint, sha256_of
from embedpipe.ports.models import ModelInfo

MANIFEST = "embedpipe.yaml"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
MAX_MANIFEST_BYTES = 65_536

ModelId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Flat names of data formats only: no path can leave the directory, nothing in it can be executed.
FileName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.(onnx|onnx_data|json)$")
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PinnedFile(_Strict):
    """What a file must be."""

    sha256: Sha256
    bytes: int = Field(ge=1)


class Pooling(_Strict):
    """How token vectors become one vector; `in_graph` when the ONNX graph does it."""

    type: Literal["mean", "cls", "last_token"]
    in_graph: bool


class Manifest(_Strict):
    """`embedpipe.yaml`.

    `weights_sha256` is the digest of the original weights that the graph was built from.
    """

    format: Literal[1] = 1
    model_id: ModelId
    fingerprint: Sha256
    dimensions: int = Field(ge=1, le=16_000)
    max_tokens: int = Field(ge=1, le=65_536)
    special_tokens: int = Field(ge=0, le=16)
    pooling: Pooling
    normalize: bool
    query_prefix: str = Field(default="", max_length=1024)
    document_prefix: str = Field(default="", max_length=1024)
    price_usd_per_million_tokens: float = Field(default=0.0, ge=0, lt=1_000_000)
    licence: str
    source: str
    weights_sha256: Sha256
    files: dict[FileName, PinnedFile]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if missing := {GRAPH, TOKENIZER} - self.files.keys():
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        if self.fingerprint != self.computed_fingerprint():
            raise ValueError("fingerprint does not follow from the settings and digests")
        return self

    def computed_fingerprint(self) -> str:
        """Give the fingerprint that follows from the other fields."""
        return fingerprint(
            weights_sha256=self.weights_sha256,
            tokenizer_sha256=self.files[TOKENIZER].sha256,
            dimensions=self.dimensions,
            max_tokens=self.max_tokens,
            special_tokens=self.special_tokens,
            pooling=self.pooling.type,
            normalize=self.normalize,
            query_prefix=self.query_prefix,
            document_prefix=self.document_prefix,
        )

    @property
    def info(self) -> ModelInfo:
        """What the stages need to know of the model."""
        return ModelInfo(
            model_id=self.model_id,
            fingerprint=self.fingerprint,
            dimensions=self.dimensions,
            max_tokens=self.max_tokens,
            special_tokens=self.special_tokens,
            query_prefix=self.query_prefix,
            document_prefix=self.document_prefix,
            price_usd_per_million_tokens=self.price_usd_per_million_tokens,
        )

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """Read a manifest. Raises ModelFilesError, naming the fields at fault."""
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError:
            raise ModelFilesError(f"{MANIFEST} is not YAML") from None
        except ValidationError as exc:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in error['loc']) or 'manifest'}: {error['msg']}"
                for error in exc.errors(include_input=False, include_url=False)[:5]
            )
            raise ModelFilesError(f"{MANIFEST}: {problems}") from None

    def dump(self) -> str:
        """Give the text of the file; equal manifests give equal bytes."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)


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
        manifest = Manifest.parse((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest.model_id != path.name:
            raise ModelFilesError(f"the directory {path.name} holds the model {manifest.model_id}")
        return cls(path, manifest)

    @property
    def info(self) -> ModelInfo:
        """What the stages need to know of the model."""
        return self.manifest.info

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
