"""Voyage AI.

POST /v1/embeddings: `model`, `input`, `input_type`, `truncation`, `output_dimension`,
`output_dtype`, `encoding_format`; answers as OpenAI. At most 1000 inputs; tokens together by model
(API reference, 2026-07).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedpipe.adapters.embedders.remote.embedder import bearer, in_order
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.ports.models import Kind, ModelInfo

URL = "https://api.voyageai.com/v1/embeddings"


class Voyage:
    """The form of Voyage's API."""

    most_texts = None

    def __init__(self, entry: RemoteEntry, model: ModelInfo) -> None:
        self.url = entry.api_url or URL
        self._entry = entry
        self._dimensions = model.dimensions if entry.asks_for_dimensions else None

    def headers(self, key: str) -> Mapping[str, str]:
        """Give the header that carries the key."""
        return bearer(key)

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request. A text that is too long is refused, never cut in silence."""
        body: dict[str, Any] = {
            "model": self._entry.model_name_or_path,
            "input": list(texts),
            "truncation": False,
            "output_dtype": "float",
            "encoding_format": "base64",
        }
        if input_type := self._entry.input_type(kind):
            body["input_type"] = input_type
        if self._dimensions is not None:
            body["output_dimension"] = self._dimensions
        return body

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the vectors out of an answer."""
        return in_order(answer["data"], texts)
