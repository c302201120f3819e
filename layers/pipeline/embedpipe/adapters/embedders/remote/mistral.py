"""Mistral.

POST /v1/embeddings: `model`, `input`, `output_dimension` (codestral-embed only); answers as OpenAI.
More than 256 inputs are refused ("Too many inputs in request"), and so are more than some 16,000
tokens together (seen by clients of the API, 2026-07).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedpipe.adapters.embedders.remote.embedder import bearer, in_order
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.ports.models import Kind, ModelInfo

URL = "https://api.mistral.ai/v1/embeddings"


class Mistral:
    """The form of Mistral's API."""

    most_texts = None

    def __init__(self, entry: RemoteEntry, model: ModelInfo) -> None:
        self.url = entry.api_url or URL
        self._model = entry.model_name_or_path
        self._dimensions = model.dimensions if entry.asks_for_dimensions else None

    def headers(self, key: str) -> Mapping[str, str]:
        """Give the header that carries the key."""
        return bearer(key)

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request; it does not tell queries from documents."""
        body: dict[str, Any] = {"model": self._model, "input": list(texts)}
        if self._dimensions is not None:
            body["output_dimension"] = self._dimensions
        return body

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the vectors out of an answer."""
        return in_order(answer["data"], texts)
