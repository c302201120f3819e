"""Cohere.

POST /v2/embed: `model`, `texts`, `input_type`, `embedding_types`, `output_dimension` (v4 only),
`truncate`; answers `embeddings` by type, in the order of the texts. At most 96 texts. Of the types
only `float` says what a number is, so base64 is not asked for (API reference, 2026-07).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedpipe.adapters.embedders.remote.embedder import bearer
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.ports.models import Kind, ModelInfo

URL = "https://api.cohere.com/v2/embed"


class Cohere:
    """The form of Cohere's API."""

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
            "texts": list(texts),
            "input_type": self._entry.input_type(kind),
            "embedding_types": ["float"],
            "truncate": "NONE",
        }
        if self._dimensions is not None:
            body["output_dimension"] = self._dimensions
        return body

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the vectors out of an answer."""
        return list(answer["embeddings"]["float"])
