"""Ports to models: tokenizers and embedders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


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
    """

    model_id: str
    fingerprint: str
    dimensions: int
    max_tokens: int
    special_tokens: int = 2
    query_prefix: str = ""
    document_prefix: str = ""
    price_usd_per_million_tokens: float = 0.0


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


class Embedder(Protocol):
    """A loaded model that turns token ids into vectors."""

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
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


class QueryEmbedder(Protocol):
    """Gives the vector of a search query."""

    def embed_query(self, text: str, fingerprint: str) -> list[float]:
        """Embed a query with the model of that fingerprint, its query prefix added.

        Raises
        ------
        EmbedderUnavailableError
            Nothing answers, or what answers holds another model.
        """
        ...

    def check(self) -> None:
        """Raise EmbedderUnavailableError when no query could be embedded now."""
        ...
