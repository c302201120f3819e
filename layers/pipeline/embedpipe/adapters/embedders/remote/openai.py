"""OpenAI, and whatever speaks as it does.

POST /v1/embeddings: `model`, `input`, `encoding_format`, `dimensions`; answers `data`, a list of
`index` and `embedding`. At most 2048 inputs and 300,000 tokens together (API reference, 2026-07).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedpipe.adapters.embedders.remote.embedder import bearer, in_order
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.ports.models import Kind, ModelInfo

URL = "https://api.openai.com/v1/embeddings"


class OpenAI:
    """The form of OpenAI's API."""

    most_texts = None
    default_url = URL
    #: What the field is called that asks for shorter vectors.
    dimensions_field = "dimensions"
    #: A vector takes a third of what it takes in decimal.
    encoding: str | None = "base64"

    def __init__(self, entry: RemoteEntry, model: ModelInfo) -> None:
        self.url = entry.api_url or self.default_url
        self._model = entry.model_name_or_path
        self._dimensions = model.dimensions if entry.asks_for_dimensions else None

    def headers(self, key: str) -> Mapping[str, str]:
        """Give the header that carries the key."""
        return bearer(key)

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request; it does not tell queries from documents."""
        body: dict[str, Any] = {"model": self._model, "input": list(texts)}
        if self.encoding is not None:
            body["encoding_format"] = self.encoding
        if self._dimensions is not None:
            body[self.dimensions_field] = self._dimensions
        return body

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the vectors out of an answer."""
        return in_order(answer["data"], texts)
