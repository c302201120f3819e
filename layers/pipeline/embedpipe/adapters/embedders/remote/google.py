"""Google's Gemini API.

POST /v1beta/models/<model>:batchEmbedContents: `requests`, each with `model`, `content.parts`,
`taskType`, `outputDimensionality`; answers `embeddings`, a list of `values`, in order. At most 100
requests together. Shortened vectors come without unit length (API reference, 2026-07).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.ports.models import Kind, ModelInfo

URL = "https://generativelanguage.googleapis.com/v1beta"


class Google:
    """The form of the Gemini API. The key goes into a header: URLs end up in logs."""

    most_texts = None

    def __init__(self, entry: RemoteEntry, model: ModelInfo) -> None:
        name = entry.model_name_or_path.removeprefix("models/")
        self._model = f"models/{name}"
        self.url = f"{(entry.api_url or URL).rstrip('/')}/{self._model}:batchEmbedContents"
        self._entry = entry
        self._dimensions = model.dimensions if entry.asks_for_dimensions else None

    def headers(self, key: str) -> Mapping[str, str]:
        """Give the header that carries the key."""
        return {"x-goog-api-key": key}

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request."""
        common: dict[str, Any] = {"model": self._model}
        if task_type := self._entry.input_type(kind):
            common["taskType"] = task_type
        if self._dimensions is not None:
            common["outputDimensionality"] = self._dimensions
        return {"requests": [{**common, "content": {"parts": [{"text": text}]}} for text in texts]}

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the vectors out of an answer."""
        return [one["values"] for one in answer["embeddings"]]
