"""Entries of the model catalogue: a model directory of this machine, or a model at a provider."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from embedpipe.models.known import BATCH_LIMITS, BatchLimits, KnownModel, known_model
from embedpipe.models.manifest import ModelId, Sha256
from embedpipe.models.urls import check_url
from embedpipe.ports.models import Kind, ModelInfo

#: Providers that tell a query from a document by a word of their own; "" sends none.
INPUT_TYPES: dict[str, dict[Kind, str]] = {
    "voyage": {"query": "query", "document": "document"},
    "cohere": {"query": "search_query", "document": "search_document"},
    "google": {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"},
}
_WITHOUT_INPUT_TYPES = frozenset({"openai", "mistral"})
_NOTHING = KnownModel(0, 0, 0.0)

ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,255}$")]
InputType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
# Of all variables only those that look like a provider's key: a catalogue must not be able to send
# the rest of the environment somewhere.
KeyVariable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,100}_API_KEY$")]
SecretArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:secretsmanager:[!-~]+$")]
RelativePath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"),
]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name_or_path: ModelName
    trust_remote_code: bool = False

    @field_validator("trust_remote_code", mode="before")
    @classmethod
    def _runs_no_code(cls, value: Any) -> Any:
        if value is not False:
            raise ValueError("only false may stand here: code that comes with a model is never run")
        return value


class LocalEntry(_Entry):
    """A directory of the models folder that `embedpipe models add` made.

    `huggingface` is where such a model comes from; both are computed by ONNX Runtime.
    `onnx_providers` is checked and has no effect: EMBED_PROVIDER names the device.
    """

    provider: Literal["onnx", "huggingface"]
    onnx_providers: tuple[Literal["CPUExecutionProvider", "CUDAExecutionProvider"], ...] = ()

    @property
    def directory(self) -> str:
        """The directory's name: of `sentence-transformers/all-MiniLM-L6-v2` the last part."""
        return self.model_name_or_path.rpartition("/")[2]


class RemoteEntry(_Entry):
    """A model at a provider. What is left out is what is known of the model.

    Attributes
    ----------
    canonical_name
        The model's own name, where this provider calls it something else.
    send_dimensions
        Whether to ask for `dimensions`; None: where they are not the model's own.
    tokenizer
        A `tokenizer.json`, or a directory with one, below the models folder.
    """

    provider: Literal["openai", "cohere", "google", "mistral", "voyage", "local_api"]
    canonical_name: ModelName | None = None
    dimensions: int | None = Field(default=None, ge=1, le=16_000)
    send_dimensions: bool | None = None
    matryoshka_dimensions: tuple[Annotated[int, Field(ge=1, le=16_000)], ...] | None = None
    max_tokens: int | None = Field(default=None, ge=8, le=1_000_000)
    special_tokens: int = Field(default=2, ge=0, le=16)
    query_prefix: str | None = Field(default=None, max_length=1024)
    document_prefix: str | None = Field(default=None, max_length=1024)
    query_input_type: InputType | None = None
    document_input_type: InputType | None = None
    tokenizer: RelativePath | None = None
    tokenizer_sha256: Sha256 | None = None
    api_url: str | None = None
    allow_private_address: bool = False
    api_key_env: KeyVariable | None = None
    api_key_secret_arn: SecretArn | None = None
    price_usd_per_million_tokens: float | None = Field(default=None, ge=0, lt=1_000_000)
    timeout_s: float = Field(default=30.0, gt=0, le=600)
    max_batch_texts: int | None = Field(default=None, ge=1, le=10_000)
    max_batch_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    fallbacks: tuple[ModelId, ...] = ()

    @field_validator("api_key_env")
    @classmethod
    def _is_a_providers_key(cls, value: str | None) -> str | None:
        if value == "SINGLE_USER_API_KEY":
            raise ValueError("this is the key to this service, which no provider must see")
        return value

    @field_validator("query_input_type", "document_input_type")
    @classmethod
    def _is_taken(cls, value: str | None, info: ValidationInfo) -> str | None:
        provider = info.data.get("provider")
        if value and provider in _WITHOUT_INPUT_TYPES:
            raise ValueError(f"{provider} has no input types; use a prefix")
        if value == "" and provider == "cohere":
            raise ValueError("cohere needs one")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        self._check_address()
        known = self._known
        if not self.known:
            for field in ("dimensions", "max_tokens"):
                if getattr(self, field) is None:
                    raise ValueError(
                        f"{field} is needed: {self.model_name_or_path} is not a known model"
                    )
        elif self.matryoshka_dimensions is None:
            allowed = sorted({known.dimensions, *known.matryoshka_dimensions})
            if self.dimensions is not None and self.dimensions not in allowed:
                raise ValueError(f"dimensions must be one of {', '.join(map(str, allowed))}")
        return self

    def _check_address(self) -> None:
        if self.api_url is None:
            if self.provider == "local_api":
                raise ValueError("api_url is needed for local_api")
            return
        try:
            check_url(self.api_url, allow_private=self.allow_private_address)
        except ValueError as exc:
            raise ValueError(f"api_url: {exc}") from None
        path = self.api_url.partition("?")[0].rstrip("/")
        if self.provider == "local_api" and not path.endswith(("/embeddings", "/api/embed")):
            raise ValueError("api_url must end in /v1/embeddings, /api/embed or /api/embeddings")

    @property
    def canonical(self) -> str:
        """The name by which the same model is known everywhere."""
        name = (self.canonical_name or self.model_name_or_path).lower()
        return name.removeprefix("models/").removesuffix(":latest")

    @property
    def known(self) -> KnownModel | None:
        """What the table says of the model."""
        return known_model(self.provider, self.canonical)

    @property
    def asks_for_dimensions(self) -> bool:
        """Whether requests name the dimensions."""
        if self.send_dimensions is not None:
            return self.send_dimensions
        known = self.known
        return known is not None and self.dimensions not in (None, known.dimensions)

    @property
    def batch_limits(self) -> BatchLimits:
        """What one request may hold."""
        usual = BATCH_LIMITS[self.provider]
        tokens = self.max_batch_tokens or self._known.batch_tokens or usual.tokens
        return BatchLimits(self.max_batch_texts or usual.texts, tokens)

    def input_type(self, kind: Kind) -> str:
        """Give the provider's word for what a text is for, "" for none."""
        own = self.query_input_type if kind == "query" else self.document_input_type
        return INPUT_TYPES.get(self.provider, {}).get(kind, "") if own is None else own

    def info(self, model_id: str) -> ModelInfo:
        """Give what the stages need to know."""
        known = self._known
        price, dimensions = self.price_usd_per_million_tokens, self.dimensions or known.dimensions
        lengths = self.matryoshka_dimensions
        if lengths is None:
            lengths = (known.dimensions, *known.matryoshka_dimensions)
        return ModelInfo(
            model_id=model_id,
            fingerprint=self.fingerprint,
            dimensions=dimensions,
            max_tokens=self.max_tokens or known.max_tokens,
            special_tokens=self.special_tokens,
            query_prefix=self._prefix("query"),
            document_prefix=self._prefix("document"),
            price_usd_per_million_tokens=(
                known.price_usd_per_million_tokens if price is None else price
            ),
            provider=self.provider,
            matryoshka_dimensions=self._shorter(lengths, dimensions),
            has_tokenizer=self.tokenizer is not None,
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what changes the vectors: not who computes them, nor where."""
        parts = {
            "remote_model": self.canonical,
            "dimensions": self.dimensions or self._known.dimensions,
            "prefixes": [self._prefix("query"), self._prefix("document")],
            "input_types": [self.input_type("query"), self.input_type("document")],
        }
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def _known(self) -> KnownModel:
        return self.known or _NOTHING

    def _shorter(self, lengths: tuple[int, ...], dimensions: int) -> tuple[int, ...]:
        # Only a model that can be shortened at all: its own length alone is no choice.
        return tuple(sorted({length for length in lengths if length < dimensions}))

    def _prefix(self, kind: Kind) -> str:
        own, known = (
            (self.query_prefix, self._known.query_prefix)
            if kind == "query"
            else (self.document_prefix, self._known.document_prefix)
        )
        return known if own is None else own


Entry = Annotated[LocalEntry | RemoteEntry, Field(discriminator="provider")]
