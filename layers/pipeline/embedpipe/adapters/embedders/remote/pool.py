"""Embedders of the catalogue's remote models, made when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from embedpipe.adapters.embedders.remote.embedder import ProviderEmbedder
from embedpipe.adapters.embedders.remote.fallback import FallbackEmbedder, LimitedEmbedder
from embedpipe.adapters.embedders.remote.http import Service
from embedpipe.errors import NotFoundError
from embedpipe.models.catalogue_entries import RemoteEntry
from embedpipe.ports.models import ModelInfo

if TYPE_CHECKING:
    from embedpipe.adapters.embedders.remote.embedder import Dialect
    from embedpipe.adapters.embedders.remote.keys import ProviderKeys

#: Where the form of each provider's API is; imported when a model of it is first asked for.
DIALECTS = {
    "openai": "embedpipe.adapters.embedders.remote.openai:OpenAI",
    "cohere": "embedpipe.adapters.embedders.remote.cohere:Cohere",
    "google": "embedpipe.adapters.embedders.remote.google:Google",
    "mistral": "embedpipe.adapters.embedders.remote.mistral:Mistral",
    "voyage": "embedpipe.adapters.embedders.remote.voyage:Voyage",
    "local_api": "embedpipe.adapters.embedders.remote.local_api:local_api",
}


class _MakeDialect(Protocol):
    def __call__(self, entry: RemoteEntry, model: ModelInfo) -> Dialect: ...


class RemotePool:
    """Models at providers, by id; with the same model elsewhere behind one that names it.

    Threads may share it.

    Parameters
    ----------
    entries
        `Catalogue.remote`.
    """

    def __init__(self, entries: Mapping[str, RemoteEntry], keys: ProviderKeys) -> None:
        self._entries = dict(entries)
        self._keys = keys
        self._embedders: dict[str, LimitedEmbedder] = {}
        self._lock = Lock()

    def get(self, model_id: str) -> LimitedEmbedder:
        """Give one.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND, or it is not a model of a provider.
        """
        with self._lock:
            if model_id not in self._embedders:
                self._embedders[model_id] = self._make(model_id)
            return self._embedders[model_id]

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            for embedder in self._embedders.values():
                embedder.close()

    def _make(self, model_id: str) -> LimitedEmbedder:
        entry = self._entries.get(model_id)
        if entry is None:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND")
        chosen: list[LimitedEmbedder] = [self._one(model_id, entry)]
        chosen += [self._one(other, self._entries[other]) for other in entry.fallbacks]
        return FallbackEmbedder(chosen) if len(chosen) > 1 else chosen[0]

    def _one(self, model_id: str, entry: RemoteEntry) -> ProviderEmbedder:
        model = entry.info(model_id)
        dialect = make_dialect(entry, model)
        service = Service(
            entry.provider,
            dialect.url,
            allow_private=entry.allow_private_address,
            timeout_s=entry.timeout_s,
        )
        key = self._keys.of(model_id, entry)
        return ProviderEmbedder(model, dialect, service, key, entry.batch_limits)


def make_dialect(entry: RemoteEntry, model: ModelInfo) -> Dialect:
    """Give the form of the API that an entry is asked in."""
    module, _, name = DIALECTS[entry.provider].partition(":")
    make: _MakeDialect = getattr(import_module(module), name)
    return make(entry, model)
