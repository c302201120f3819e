"""Ports to models: tokenizers, embedders on this machine, and embedders at a provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


#: What a text is for: some models want another prefix, some providers another input type.
Kind = Literal["query", "document"]
#: The provider of models that run in the worker itself.
ONNX = "onnx"


@dataclass(frozen=True)
class ModelInfo:
    """What identifies the vectors of a model.

    Attributes
    ----------
    fingerprint
        SHA-256, hex, over everything that changes the vectors: weights, tokenizer, pooling,
        normalisation, prefixes, longest input. Not the precision of the file.
    max_tokens
        Longest input, special tokens included.
    special_tokens
        How many tokens the tokenizer adds to every input.
    price_usd_per_million_tokens
        What its provider charges; 0 for a model of one's own.
    provider
        Who computes: `onnx` the worker itself, from token ids; any other name a service, from text.
    matryoshka_dimensions
        Lengths that its vectors may be cut to, besides their own; empty when they may not be cut.
    has_tokenizer
        False when only the provider can tokenize: lengths are then bounded by bytes, and counts of
        tokens are estimates.
    """

    model_id: str
    fingerprint: str
    dimensions: int
    max_tokens: int
    special_tokens: int = 2
    query_prefix: str = ""
    document_prefix: str = ""
    price_usd_per_million_tokens: float = 0.0
    provider: str = ONNX
    matryoshka_dimensions: tuple[int, ...] = ()
    has_tokenizer: bool = True

    @property
    def is_remote(self) -> bool:
        """Whether a service computes it, from text."""
        return self.provider != ONNX


@dataclass(frozen=True)
class Encoding:
    """Token ids of one text, and where each token lies in it, [start, end) in code points.

    Without special tokens for `Tokenizer.offsets`.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]


class Tokenizer(Protocol):
    """A model's own tokenizer. No truncation, no padding, ever."""

    @property
    def model(self) -> ModelInfo:
        """The model it belongs to."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """All ids are below it."""
        ...

    def offsets(self, text: str) -> Encoding:
        """Tokenize without special tokens."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give the ids the model takes, special tokens included, prefix not added."""
        ...


class Models(Protocol):
    """The models at hand, by id."""

    def get(self, model_id: str) -> ModelInfo:
        """Give one. Raises NotFoundError (MODEL_NOT_FOUND)."""
        ...

    def tokenizer(self, model_id: str) -> Tokenizer:
        """Give a model's tokenizer, loaded once."""
        ...

    def find(self, fingerprint: str) -> ModelInfo:
        """Give the model of a fingerprint; what is at hand already is looked at first.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND.
        BlobsUnavailableError
            It is none of those at hand, and those elsewhere cannot be read now.
        """
        ...

    def all(self) -> list[ModelInfo]:
        """List them by id. What is damaged is left out.

        Raises
        ------
        BlobsUnavailableError
            Where they are kept cannot be read now.
        """
        ...

    def providers(self) -> set[str]:
        """Name the services that compute models; nothing is read for that."""
        ...


@dataclass(frozen=True)
class Tuning:
    """What was measured to be fastest for one model on one device.

    Attributes
    ----------
    max_batch_tokens
        Padded tokens of one inference batch: longest input times number of inputs.
    overhead_tokens
        What starting a batch costs, in padded tokens that could have been computed meanwhile.
    streams
        Inference batches computed at the same time, each by a thread of the worker.
    threads
        Threads of the runtime within one batch; 0 means its own default.
    tokens_per_s
        What was reached, all streams together; 0 when nothing was measured.
    """

    max_batch_tokens: int = 512
    overhead_tokens: int = 16
    streams: int = 1
    threads: int = 0
    tokens_per_s: float = 0.0


class Embedder(Protocol):
    """A loaded model that turns token ids into vectors. Threads may call it at the same time."""

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        ...

    @property
    def tuning(self) -> Tuning:
        """How it is fastest on this device."""
        ...

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Compute one inference batch.

        Parameters
        ----------
        token_ids
            Ids of each input, special tokens included, 1 to `max_tokens` long; ragged.

        Returns
        -------
        Shape (inputs, dimensions), float32, unit length, in the order given.

        Raises
        ------
        Exception
            Whatever the runtime raises; the embed stage finds out which input it was.
        """
        ...


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. `memory_bytes` is what it took when it was loaded, about."""

    model_id: str
    fingerprint: str
    precision: str
    device: str
    memory_bytes: int
    idle_s: float
    tuning: Tuning = Tuning()


class Embedders(Protocol):
    """Models that this process can compute, loaded when they are first asked for.

    Whoever got one may go on using it after it was unloaded: its memory is free once nobody does.
    """

    def get(self, model_id: str) -> Embedder:
        """Give one, loaded; what was not used for longest makes room for it.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND, or it is computed by a service.
        ModelUnavailableError
            It cannot be loaded; said again for some seconds without trying.
        """
        ...

    def loaded(self) -> list[LoadedModel]:
        """List what is in memory, the last used first."""
        ...

    def unload_idle(self) -> list[str]:
        """Forget what was not used for the unload timeout; give the ids."""
        ...


class RemoteEmbedder(Protocol):
    """A model at a provider, from text. Threads may call it at the same time."""

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        ...

    def requests(self, texts: Sequence[str]) -> list[list[int]]:
        """Part texts into requests that the provider takes: indices, each once, in order."""
        ...

    def embed(self, texts: Sequence[str], kind: Kind) -> Floats:
        """Ask the provider once; the model's prefix for that kind is added here.

        Returns
        -------
        Shape (texts, dimensions), float32, unit length, in the order given.

        Raises
        ------
        ProviderUnavailableError
            No answer, half of one, a 408, 429 or 5xx; `retry_after_s` is what it asked for.
        ProviderRefusedError
            Key, account or model: nothing can be computed until somebody acts.
        ProviderRejectedError
            It refuses these texts, or its vectors are not what the model promises.
        """
        ...


class RemoteEmbedders(Protocol):
    """Models at providers, by id."""

    def get(self, model_id: str) -> RemoteEmbedder:
        """Give one, with the same model elsewhere behind it if the catalogue names one.

        Raises NotFoundError (MODEL_NOT_FOUND), or when the model is not remote.
        """
        ...


class QueryEmbedder(Protocol):
    """Gives the vector of a search query."""

    def embed_query(
        self,
        text: str,
        fingerprint: str,
        *,
        model_id: str | None = None,
        tenant_id: str = "",
    ) -> list[float]:
        """Embed a query with the model of that fingerprint, its query prefix added.

        Parameters
        ----------
        model_id
            The model's id, where it is known.
        tenant_id
            Whose query it is: its vector may be kept for this tenant.

        Raises
        ------
        EmbedderUnavailableError
            Nothing answers, or what answers holds another model.
        InvalidInputError
            TEXT_TOO_LONG, where the model's provider does not cut queries.
        """
        ...

    def check(self) -> None:
        """Raise EmbedderUnavailableError when no query could be embedded now."""
        ...
