"""Query vectors from a model in this process."""

from __future__ import annotations

from embedpipe.errors import EmbedderUnavailableError
from embedpipe.ports import Embedder, Tokenizer
from embedpipe.stages.embed import encode_query


class LocalQueryEmbedder:
    """Embeds queries with a loaded model; a query too long for it is cut.

    Parameters
    ----------
    embedder, tokenizer
        Of the same model.
    """

    def __init__(self, embedder: Embedder, tokenizer: Tokenizer) -> None:
        if embedder.model.fingerprint != tokenizer.model.fingerprint:
            raise ValueError("the embedder and the tokenizer are of different models")
        self._embedder = embedder
        self._tokenizer = tokenizer

    def embed_query(self, text: str, fingerprint: str) -> list[float]:
        """Embed a query with the model of that fingerprint, its query prefix added."""
        if fingerprint != self._embedder.model.fingerprint:
            raise EmbedderUnavailableError("the embedder holds another model")
        [vector] = self._embedder.embed([encode_query(text, self._tokenizer)])
        return [float(value) for value in vector]

    def check(self) -> None:
        """Do nothing: what is loaded is available."""
