"""Services of one's own: any that speaks as OpenAI does, and Ollama.

Which of the three forms is meant, the end of the address says:
`/v1/embeddings` (OpenAI's; numbers in decimal, as not every server knows base64);
`/api/embed` (Ollama: `model`, `input`, `truncate`, `dimensions`; answers `embeddings`, in order);
`/api/embeddings` (Ollama before 0.3: one `prompt` a request; answers `embedding`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embedpipe.adapters.embedders.remote.embedder import Dialect, bearer
from embedpipe.adapters.embedders.remote.openai import OpenAI
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.ports.models import Kind, ModelInfo


class Compatible(OpenAI):
    """A server that speaks as OpenAI does."""

    encoding = None

    def __init__(self, entry: RemoteEntry, model: ModelInfo) -> None:
        super().__init__(entry, model)
        self._entry = entry

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request, with an input type where the entry names one."""
        input_type = self._entry.input_type(kind)
        extra = {"input_type": input_type} if input_type else {}
        return {**super().body(texts, kind), **extra}


class Ollama:
    """Ollama's API of today."""

    most_texts: int | None = None

    def __init__(self, entry: RemoteEntry, model: ModelInfo) -> None:
        self.url = entry.api_url or ""
        self._model = entry.model_name_or_path
        self._dimensions = model.dimensions if entry.asks_for_dimensions else None

    def headers(self, key: str) -> Mapping[str, str]:
        """Give the header that carries the key, for a proxy before the service."""
        return bearer(key)

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request. A text that is too long is refused, never cut in silence."""
        body: dict[str, Any] = {"model": self._model, "input": list(texts), "truncate": False}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        return body

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the vectors out of an answer."""
        return list(answer["embeddings"])


class OldOllama(Ollama):
    """Ollama's first API. It cuts what is too long: chunks, bounded by bytes, are short enough."""

    most_texts = 1

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request with its one text."""
        [text] = texts
        return {"model": self._model, "prompt": text}

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the one vector out of an answer."""
        return [answer["embedding"]]


def local_api(entry: RemoteEntry, model: ModelInfo) -> Dialect:
    """Give the form that the address asks for."""
    path = (entry.api_url or "").partition("?")[0].rstrip("/")
    if path.endswith("/api/embed"):
        return Ollama(entry, model)
    if path.endswith("/api/embeddings"):
        return OldOllama(entry, model)
    return Compatible(entry, model)
