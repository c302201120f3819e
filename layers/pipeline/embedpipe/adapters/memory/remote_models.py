"""Providers without a provider: the fake model's vectors, and whatever goes wrong on request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from embedpipe.adapters.memory.models import FakeEmbedder, FakeTokenizer, fake_model
from embedpipe.errors import NotFoundError, ProviderRejectedError
from embedpipe.ports.models import Kind, ModelInfo, RemoteEmbedder

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

PROVIDER = "fake-ai"


def fake_remote_model(
    model_id: str = "fake-remote",
    *,
    provider: str = PROVIDER,
    has_tokenizer: bool = True,
    document_prefix: str = "",
    query_prefix: str = "",
    max_tokens: int = 256,
) -> ModelInfo:
    """Give a model that a provider computes."""
    return replace(
        fake_model(model_id, max_tokens=max_tokens),
        provider=provider,
        has_tokenizer=has_tokenizer,
        document_prefix=document_prefix,
        query_prefix=query_prefix,
    )


class FakeRemoteEmbedder:
    """A provider in memory. Threads may call it at the same time.

    Attributes
    ----------
    calls
        The texts of every request, in order of arrival, failed ones included.
    kinds
        What each of them was for.
    faults
        Raised instead of answering, one per request, before anything else is looked at.
    outage
        Raised instead of answering as long as it is set.
    refused
        A request with one of these texts raises ProviderRejectedError.
    before
        Called with the texts of each request before it is answered.
    """

    def __init__(
        self,
        model: ModelInfo | None = None,
        *,
        max_texts: int = 16,
        faults: Iterable[Exception] = (),
        refused: Iterable[str] = (),
    ) -> None:
        self._model = model or fake_remote_model()
        self._max_texts = max_texts
        self._tokenizer = FakeTokenizer(self._model)
        self._lock = Lock()
        self.calls: list[list[str]] = []
        self.kinds: list[Kind] = []
        self.faults = deque(faults)
        self.outage: Exception | None = None
        self.refused = set(refused)
        self.before: Callable[[Sequence[str]], None] = lambda _: None

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        return self._model

    def requests(self, texts: Sequence[str]) -> list[list[int]]:
        """Part texts by their number alone."""
        indices = list(range(len(texts)))
        return [indices[at : at + self._max_texts] for at in range(0, len(texts), self._max_texts)]

    def embed(self, texts: Sequence[str], kind: Kind) -> Floats:
        """Answer, or fail as was asked for."""
        with self._lock:
            self.calls.append(list(texts))
            self.kinds.append(kind)
            fault = self.faults.popleft() if self.faults else self.outage
        self.before(texts)
        if fault is not None:
            raise fault
        if self.refused.intersection(texts):
            raise ProviderRejectedError
        prefix = self._model.query_prefix if kind == "query" else self._model.document_prefix
        inputs = self._tokenizer.encode([prefix + text for text in texts])
        return FakeEmbedder(self._model).embed(inputs)


class FakeRemoteEmbedders:
    """Remote embedders by model id."""

    def __init__(self, *embedders: RemoteEmbedder) -> None:
        chosen: tuple[RemoteEmbedder, ...] = embedders or (FakeRemoteEmbedder(),)
        self._embedders = {embedder.model.model_id: embedder for embedder in chosen}

    def get(self, model_id: str) -> RemoteEmbedder:
        """Give one."""
        try:
            return self._embedders[model_id]
        except KeyError:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND") from None
