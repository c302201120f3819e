"""Models without a model: a hashed bag of words of 32 dimensions, the same everywhere."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from embedpipe.adapters.byte_tokenizer import ByteTokenizer
from embedpipe.errors import (
    BlobsUnavailableError,
    EmbedderUnavailableError,
    ModelUnavailableError,
    NotFoundError,
)
from embedpipe.ports.models import Embedder, Encoding, LoadedModel, ModelInfo, Tokenizer, Tuning

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

FAKE_MODEL_ID = "fake"
DIMENSIONS = 32
_CLS, _SEP = 1, 2
_FIRST_ID = 10
_HASHES = 30_000
_SPECIAL = frozenset({_CLS, _SEP})
# CJK has no spaces: each character is a token of its own, as in BERT's basic tokenizer.
_CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0002fa1f"
_TOKEN = re.compile(rf"[{_CJK}]|(?:(?![{_CJK}])\w)+|[^\w\s]")


def fake_model(
    model_id: str = FAKE_MODEL_ID,
    *,
    fingerprint: str | None = None,
    dimensions: int = DIMENSIONS,
    max_tokens: int = 256,
) -> ModelInfo:
    """Give a model whose fingerprint follows from its id, unless one is given."""
    return ModelInfo(
        model_id=model_id,
        fingerprint=fingerprint or hashlib.sha256(model_id.encode()).hexdigest(),
        dimensions=dimensions,
        max_tokens=max_tokens,
    )


class FakeTokenizer:
    """Words, punctuation and CJK characters, one token each; ids are hashes of the lower case."""

    def __init__(self, model: ModelInfo | None = None) -> None:
        self._model = model or fake_model()

    @property
    def model(self) -> ModelInfo:
        """The model it belongs to."""
        return self._model

    @property
    def vocabulary_size(self) -> int:
        """All ids are below it."""
        return _FIRST_ID + _HASHES

    def offsets(self, text: str) -> Encoding:
        """Tokenize without special tokens."""
        found = list(_TOKEN.finditer(text))
        return Encoding(
            ids=[_token_id(match.group()) for match in found],
            offsets=[match.span() for match in found],
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give ids between the two special tokens."""
        return [[_CLS, *self.offsets(text).ids, _SEP] for text in texts]


def _token_id(token: str) -> int:
    return zlib.crc32(token.lower().encode("utf-8", "surrogatepass")) % _HASHES + _FIRST_ID


class FakeEmbedder:
    """Hashed bag of words, unit length: texts that share words are near each other.

    Attributes
    ----------
    calls
        The token ids of every call, in order, failed ones included.
    poison_ids
        A batch that holds one of these ids raises RuntimeError; may be changed at any time.
    """

    def __init__(
        self,
        model: ModelInfo | None = None,
        *,
        poison_ids: Iterable[int] = (),
        tuning: Tuning | None = None,
    ) -> None:
        self._model = model or fake_model()
        self._tuning = tuning or Tuning()
        self.poison_ids = set(poison_ids)
        self.calls: list[list[list[int]]] = []

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        return self._model

    @property
    def tuning(self) -> Tuning:
        """How it is said to be fastest."""
        return self._tuning

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Compute one inference batch."""
        import numpy as np

        self.calls.append([list(ids) for ids in token_ids])
        if any(self.poison_ids.intersection(ids) for ids in token_ids):
            raise RuntimeError("the device does not like this batch")
        width = self._model.dimensions
        vectors = np.zeros((len(token_ids), width), dtype=np.float32)
        for row, ids in enumerate(token_ids):
            # An input with no token of its own still gets a direction.
            for token in [i for i in ids if i not in _SPECIAL] or ids:
                mixed = zlib.crc32(int(token).to_bytes(8, "little"))
                vectors[row, mixed % width] += 1.0 if mixed & 0x8000_0000 else -1.0
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


class FakeEmbedders:
    """Embedders by model id; what is put into `broken` cannot be loaded."""

    def __init__(self, *embedders: Embedder) -> None:
        chosen: tuple[Embedder, ...] = embedders or (FakeEmbedder(),)
        self._embedders = {embedder.model.model_id: embedder for embedder in chosen}
        self.broken: set[str] = set()

    def get(self, model_id: str) -> Embedder:
        """Give one."""
        if model_id in self.broken:
            raise ModelUnavailableError
        try:
            return self._embedders[model_id]
        except KeyError:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND") from None

    def loaded(self) -> list[LoadedModel]:
        """List all that are not broken."""
        return [
            LoadedModel(one.model.model_id, one.model.fingerprint, "fp32", "cpu", 1, 0.0)
            for one in self._embedders.values()
            if one.model.model_id not in self.broken
        ]

    def unload_idle(self) -> list[str]:
        """Unload nothing."""
        return []


class FakeQueryEmbedder:
    """Embeds queries with the fakes above. Set `available` to False to take it away."""

    def __init__(
        self, tokenizer: Tokenizer | None = None, embedder: FakeEmbedder | None = None
    ) -> None:
        self.embedder = embedder or FakeEmbedder(tokenizer.model if tokenizer else None)
        self.tokenizer = tokenizer or FakeTokenizer(self.embedder.model)
        self.available = True

    def embed_query(
        self,
        text: str,
        fingerprint: str,
        *,
        model_id: str | None = None,
        tenant_id: str = "",
    ) -> list[float]:
        """Embed a query, its prefix added."""
        del model_id, tenant_id
        self.check()
        model = self.embedder.model
        if fingerprint != model.fingerprint:
            raise EmbedderUnavailableError("the embedder holds another model")
        ids = self.tokenizer.encode([model.query_prefix + text])
        return [float(value) for value in self.embedder.embed(ids)[0]]

    def check(self) -> None:
        """Raise EmbedderUnavailableError unless available."""
        if not self.available:
            raise EmbedderUnavailableError


class FakeModels:
    """Fake models by id; the one called `fake` unless others are given.

    Set `is_available` to False for an outage of where they are kept: none can be listed then.
    """

    def __init__(self, *models: ModelInfo, fingerprint: str | None = None) -> None:
        self.is_available = True
        chosen = models or (fake_model(fingerprint=fingerprint),)
        self._models = {model.model_id: model for model in chosen}

    def get(self, model_id: str) -> ModelInfo:
        """Give one. Raises NotFoundError (MODEL_NOT_FOUND)."""
        try:
            return self._models[model_id]
        except KeyError:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND") from None

    def tokenizer(self, model_id: str) -> Tokenizer:
        """Give a model's tokenizer; of a model without one, what bounds lengths."""
        model = self.get(model_id)
        return FakeTokenizer(model) if model.has_tokenizer else ByteTokenizer(model)

    def find(self, fingerprint: str) -> ModelInfo:
        """Give the model of a fingerprint. Raises NotFoundError (MODEL_NOT_FOUND)."""
        for model in self._models.values():
            if model.fingerprint == fingerprint:
                return model
        raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND")

    def all(self) -> list[ModelInfo]:
        """List them by id. Raises BlobsUnavailableError while there is an outage."""
        if not self.is_available:
            raise BlobsUnavailableError
        return [self._models[model_id] for model_id in sorted(self._models)]

    def providers(self) -> set[str]:
        """Name the services that compute models."""
        return {model.provider for model in self._models.values() if model.is_remote}
