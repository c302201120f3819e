"""The only wiring: settings from the environment to adapters to what an entry point needs.

Each function builds on first use and keeps what it built for the life of the process. Imports of
drivers and models stand inside, so that a function pays only for what it uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from embedpipe.adapters.secrets import conninfo, secret_or
from embedpipe.domain.lanes import NORMAL, QUEUES
from embedpipe.domain.retry import RetryPolicy
from embedpipe.errors import ModelUnavailableError
from embedpipe.ports import LoadedModel
from embedpipe.settings import (
    ApiSettings,
    ChunkSettings,
    DatabaseSettings,
    EmbedQueueSettings,
    EmbedSettings,
    MaintenanceSettings,
    ModelSettings,
    RetrySettings,
    StoreSettings,
)

if TYPE_CHECKING:
    from embedpipe.adapters.embed_endpoint import HttpEmbedder
    from embedpipe.adapters.postgres import PostgresDatabase
    from embedpipe.adapters.s3 import S3Blobs
    from embedpipe.adapters.sqs import SqsQueue
    from embedpipe.adapters.tokenizer import ModelsDirectory
    from embedpipe.api.services import Services
    from embedpipe.ports import (
        Blobs,
        Database,
        Embedder,
        Embedders,
        Inbox,
        Models,
        Outbox,
    )


@dataclass(frozen=True)
class ChunkServices:
    """What `functions/chunk` works with."""

    database: Database
    inbox: Inbox
    embed_queues: Mapping[str, Outbox]
    blobs: Blobs
    models: Models
    policy: RetryPolicy
    settings: ChunkSettings


@dataclass(frozen=True)
class EmbedServices:
    """What `functions/embed_gpu` works with."""

    database: Database
    inboxes: Mapping[str, Inbox]
    store_queue: Outbox
    blobs: Blobs
    models: Models
    embedders: Embedders
    policy: RetryPolicy
    settings: EmbedSettings


@dataclass(frozen=True)
class StoreServices:
    """What `functions/store` works with."""

    database: Database
    inbox: Inbox
    blobs: Blobs
    policy: RetryPolicy
    settings: StoreSettings


@dataclass(frozen=True)
class MaintenanceServices:
    """What `functions/maintenance` works with."""

    database: Database
    queues: dict[str, Outbox]
    settings: MaintenanceSettings


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
    blobs = _blobs(settings.content_bucket)
    embedder = _embedder(settings)
    return Services(
        database=_database(settings),
        blobs=blobs,
        chunk_queue=_queue("chunk", settings.chunk_queue_url, settings.max_message_bytes, blobs),
        models=_models(settings),
        query_embedder=embedder,
        embedder=embedder,
        settings=settings,
    )


@cache
def chunk() -> ChunkServices:
    """Wire `functions/chunk`."""
    settings = ChunkSettings.from_environment()
    blobs = _blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    return ChunkServices(
        database=_database(settings),
        inbox=_queue("chunk", settings.chunk_queue_url, limit, blobs, settings.chunk_dlq_url),
        embed_queues=_embed_outboxes(settings, blobs),
        blobs=blobs,
        models=_models(settings),
        policy=_policy(settings),
        settings=settings,
    )


@cache
def embed() -> EmbedServices:
    """Wire `functions/embed_gpu`; loads the model, and fails when its provider is not at hand."""
    from embedpipe.adapters.embedders.onnx import OnnxEmbedder

    settings = EmbedSettings.from_environment()
    models = _models(settings)
    embedder = OnnxEmbedder(
        models.directory(settings.default_model_id),
        provider=settings.provider,
        threads=settings.threads,
    )
    blobs = _blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    return EmbedServices(
        database=_database(settings),
        inboxes=_embed_queues(settings, blobs, settings.embed_dlq_url),
        store_queue=_queue("store", settings.store_queue_url, limit, blobs),
        blobs=blobs,
        models=models,
        embedders=_OneModel(embedder),
        policy=_policy(settings),
        settings=settings.model_copy(
            update={"http_token": secret_or(settings.http_token, settings.http_secret_arn)}
        ),
    )


@cache
def store() -> StoreServices:
    """Wire `functions/store`."""
    settings = StoreSettings.from_environment()
    blobs = _blobs(settings.content_bucket)
    return StoreServices(
        database=_database(settings),
        inbox=_queue(
            "store",
            settings.store_queue_url,
            settings.max_message_bytes,
            blobs,
            settings.store_dlq_url,
        ),
        blobs=blobs,
        policy=_policy(settings),
        settings=settings,
    )


@cache
def maintenance() -> MaintenanceServices:
    """Wire `functions/maintenance`."""
    settings = MaintenanceSettings.from_environment()
    blobs = _blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    return MaintenanceServices(
        database=_database(settings),
        queues={
            "chunk": _queue("chunk", settings.chunk_queue_url, limit, blobs),
            **_embed_outboxes(settings, blobs),
            "store": _queue("store", settings.store_queue_url, limit, blobs),
        },
        settings=settings,
    )


def _database(settings: DatabaseSettings) -> PostgresDatabase:
    from embedpipe.adapters.postgres import PostgresDatabase

    return PostgresDatabase(
        lambda: conninfo(settings),
        min_size=settings.pool_min_size,
        max_size=settings.pool_max_size,
        ef_search=settings.hnsw_ef_search,
    )


def _queue(
    stage: str,
    url: str,
    max_message_bytes: int,
    blobs: S3Blobs | None = None,
    dlq_url: str | None = None,
) -> SqsQueue:
    from embedpipe.adapters.aws import client
    from embedpipe.adapters.sqs import SqsQueue

    return SqsQueue(
        lambda: client("sqs"),
        url,
        stage=stage,
        dlq_url=dlq_url,
        max_message_bytes=max_message_bytes,
        blobs=blobs,
    )


def _embed_queues(
    settings: EmbedQueueSettings, blobs: S3Blobs, dlq_url: str | None = None
) -> dict[str, SqsQueue]:
    """Give the embed queues by lane."""
    return {
        lane: _queue("embed", url, settings.max_message_bytes, blobs, dlq_url)
        for lane, url in settings.embed_queue_urls().items()
    }


def _embed_outboxes(settings: EmbedQueueSettings, blobs: S3Blobs) -> dict[str, Outbox]:
    """Give the embed queue of every lane by its name in the outbox."""
    queues = _embed_queues(settings, blobs)
    return {name: queues.get(lane, queues[NORMAL]) for lane, name in QUEUES.items()}


def _blobs(bucket: str) -> S3Blobs:
    from embedpipe.adapters.aws import client
    from embedpipe.adapters.s3 import S3Blobs

    return S3Blobs(lambda: client("s3"), bucket)


def _models(settings: ModelSettings) -> ModelsDirectory:
    from embedpipe.adapters.tokenizer import ModelsDirectory

    return ModelsDirectory(settings.models_dir, uri=settings.models_uri)


def _embedder(settings: ApiSettings) -> HttpEmbedder | None:
    if settings.query_embedder_url is None:
        return None
    from embedpipe.adapters.embed_endpoint import HttpEmbedder

    token = secret_or(settings.query_embedder_token, settings.query_embedder_secret_arn)
    return HttpEmbedder(
        settings.query_embedder_url,
        token=token.get_secret_value() if token else None,
        timeout_s=settings.query_timeout_s,
        work_timeout_s=settings.sync_timeout_s,
    )


def _policy(settings: RetrySettings) -> RetryPolicy:
    return RetryPolicy(settings.max_retries, settings.backoff_base_s, settings.backoff_cap_s)
