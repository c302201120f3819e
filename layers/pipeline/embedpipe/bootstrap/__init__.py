"""The only wiring: settings from the environment to adapters to what an entry point needs.

Each function builds on first use and keeps what it built for the life of the process. Imports of
drivers and models stand inside, so that a function pays only for what it uses.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from embedpipe.adapters.secrets import secret_or
from embedpipe.bootstrap import parts
from embedpipe.bootstrap.services import (
    ChunkServices,
    EmbedServices,
    MaintenanceServices,
    StoreServices,
)
from embedpipe.errors import ModelUnavailableError
from embedpipe.ports import LoadedModel
from embedpipe.settings import (
    ApiSettings,
    ChunkSettings,
    EmbedSettings,
    MaintenanceSettings,
    StoreSettings,
)

if TYPE_CHECKING:
    from embedpipe.api.services import Services
    from embedpipe.ports import Embedder

__all__ = [
    "ChunkServices",
    "EmbedServices",
    "MaintenanceServices",
    "StoreServices",
    "api",
    "chunk",
    "embed",
    "maintenance",
    "store",
]


class _OneModel:
    """The embedders of a worker that has one."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def get(self, model_id: str) -> Embedder:
        """Give it."""
        if model_id != self._embedder.model.model_id:
            raise ModelUnavailableError
        return self._embedder

    def loaded(self) -> list[LoadedModel]:
        """List it."""
        model = self._embedder.model
        return [LoadedModel(model.model_id, model.fingerprint, "fp32", "cpu", 0, 0.0)]

    def unload_idle(self) -> list[str]:
        """Unload nothing."""
        return []


@cache
def api() -> Services:
    """Wire `functions/api`."""
    from embedpipe.api.services import Services

    settings = ApiSettings.from_environment()
    key = secret_or(settings.single_user_api_key, settings.single_user_api_key_secret_arn)
    settings = settings.model_copy(update={"single_user_api_key": key})
    blobs = parts.blobs(settings.content_bucket)
    embedder = parts.embedder(settings)
    return Services(
        database=parts.database(settings),
        blobs=blobs,
        chunk_queue=parts.queue(
            "chunk", settings.chunk_queue_url, settings.max_message_bytes, blobs
        ),
        models=parts.models(settings),
        query_embedder=embedder,
        embedder=embedder,
        settings=settings,
    )


@cache
def chunk() -> ChunkServices:
    """Wire `functions/chunk`."""
    settings = ChunkSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    return ChunkServices(
        database=parts.database(settings),
        inbox=parts.queue("chunk", settings.chunk_queue_url, limit, blobs, settings.chunk_dlq_url),
        embed_queues=parts.embed_outboxes(settings, blobs),
        blobs=blobs,
        models=parts.models(settings),
        policy=parts.policy(settings),
        settings=settings,
    )


@cache
def embed() -> EmbedServices:
    """Wire `functions/embed_gpu`; loads the model, and fails when its provider is not at hand."""
    from embedpipe.adapters.embedders.onnx import OnnxEmbedder

    settings = EmbedSettings.from_environment()
    models = parts.models(settings)
    embedder = OnnxEmbedder(
        models.directory(settings.default_model_id),
        provider=settings.provider,
        threads=settings.threads,
    )
    blobs = parts.blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    return EmbedServices(
        database=parts.database(settings),
        inboxes=parts.embed_queues(settings, blobs, settings.embed_dlq_url),
        store_queue=parts.queue("store", settings.store_queue_url, limit, blobs),
        blobs=blobs,
        models=models,
        embedders=_OneModel(embedder),
        policy=parts.policy(settings),
        settings=settings.model_copy(
            update={"http_token": secret_or(settings.http_token, settings.http_secret_arn)}
        ),
    )


@cache
def store() -> StoreServices:
    """Wire `functions/store`."""
    settings = StoreSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    return StoreServices(
        database=parts.database(settings),
        inbox=parts.queue(
            "store",
            settings.store_queue_url,
            settings.max_message_bytes,
            blobs,
            settings.store_dlq_url,
        ),
        blobs=blobs,
        policy=parts.policy(settings),
        settings=settings,
    )


@cache
def maintenance() -> MaintenanceServices:
    """Wire `functions/maintenance`."""
    settings = MaintenanceSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    return MaintenanceServices(
        database=parts.database(settings),
        queues={
            "chunk": parts.queue("chunk", settings.chunk_queue_url, limit, blobs),
            **parts.embed_outboxes(settings, blobs),
            "store": parts.queue("store", settings.store_queue_url, limit, blobs),
        },
        settings=settings,
    )
