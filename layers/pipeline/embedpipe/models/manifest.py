"""`embedpipe.yaml`, the manifest of a model directory: what the files are and must be."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from embedpipe.errors import ModelFilesError
from embedpipe.models.fingerprint import fingerprint
from embedpipe.ports.models import ModelInfo

MANIFEST = "embedpipe.yaml"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"

#: How the numbers of a graph are held and computed; see docs/models.md.
Precision = Literal["fp32", "fp16", "w8", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FP32: Precision = "fp32"

ModelId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Flat names of data formats only: no path can leave the directory, nothing in it can be executed.
FileName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.(onnx|onnx_data|json)$"),
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


class Similarity(_Strict):
    """Cosine similarity to the vectors of fp32 over the built-in texts."""

    mean: float
    min: float


class Variant(_Strict):
    """A graph of one precision, and what it was accepted with.

    Attributes
    ----------
    data
        Files beside `file` that hold its weights, when it is too large for one.
    size
        Bytes of all its files.
    batch_invariance
        Smallest cosine similarity of a text's vector computed alone and in a batch.
    """

    file: FileName
    data: tuple[FileName, ...] = ()
    size: int = Field(ge=1)
    similarity: Similarity
    batch_invariance: float

    @property
    def files(self) -> tuple[str, ...]:
        """All its files, the graph first."""
        return (self.file, *self.data)


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
    matryoshka_dimensions: tuple[int, ...] = ()
    price_usd_per_million_tokens: float = Field(default=0.0, ge=0, lt=1_000_000)
    licence: str
    source: str
    weights_sha256: Sha256
    files: dict[FileName, PinnedFile]
    variants: dict[Precision, Variant] = Field(default_factory=dict)

    @field_validator("matryoshka_dimensions")
    @classmethod
    def _falls(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value), reverse=True) or any(one < 1 for one in value):
            raise ValueError("must fall, each at least 1")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needed = {GRAPH, TOKENIZER, *(name for one in self.variants.values() for name in one.files)}
        if missing := needed - self.files.keys():
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        if FP32 in self.variants and self.variants[FP32].file != GRAPH:
            raise ValueError(f"the file of {FP32} is {GRAPH}")
        if any(one >= self.dimensions for one in self.matryoshka_dimensions):
            raise ValueError("matryoshka_dimensions must be below dimensions")
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
    def precisions(self) -> tuple[Precision, ...]:
        """What was accepted; fp32 always."""
        return tuple(one for one in PRECISIONS if one == FP32 or one in self.variants)

    def graph_files(self, precision: str) -> tuple[str, ...]:
        """Give the names of a precision's files, the graph first; the tokenizer is not among them.

        Raises ModelFilesError when it was not accepted.
        """
        if precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise ModelFilesError(f"{self.model_id} has no {precision} graph; it has {known}")
        for name, variant in self.variants.items():
            if name == precision:
                return variant.files
        return (GRAPH,)

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
            matryoshka_dimensions=self.matryoshka_dimensions,
        )

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """Read a manifest. Raises ModelFilesError, naming the fields at fault."""
        try:
            values = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise ModelFilesError(f"{MANIFEST} is not YAML") from None
        return cls.validated(values)

    @classmethod
    def validated(cls, values: object) -> Manifest:
        """Make a manifest. Raises ModelFilesError, naming the fields at fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            raise ModelFilesError(f"{MANIFEST}: {problems_of(exc)}") from None

    def dump(self) -> str:
        """Give the text of the file; equal manifests give equal bytes."""
        values = self.model_dump(mode="json")
        # Left out where they say nothing: an older worker then reads the file as well.
        for name in ("matryoshka_dimensions", "variants"):
            if not values[name]:
                del values[name]
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def problems_of(error: ValidationError) -> str:
    """Say which fields are at fault and why, without their values."""
    return "; ".join(
        f"{'.'.join(str(part) for part in one['loc']) or 'manifest'}: {one['msg']}"
        for one in error.errors(include_input=False, include_url=False)[:5]
    )
