"""The only wiring: settings from the environment to adapters to what an entry point needs.

Each function builds on first use and keeps what it built for the life of the process. Imports of
drivers and models stand inside, so that a function pays only for what it uses.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from embedpipe.adapters.catalogue_files import default_model_id, load_catalogue
from embedpipe.adapters.secrets import secret_or
from embedpipe.bootstrap import parts
from embedpipe.bootstrap.dead_letters import dead_letter_parts
from embedpipe.bootstrap.services import (
    ChunkServices,
    EmbedServices,
    MaintenanceServices,
    StoreServices,
)
from embedpipe.settings import (
    ApiSettings,
    ChunkSettings,
    EmbedSettings,
    MaintenanceSettings,
    StoreSettings,
)
from embedpipe.stages.controls import ControlReader

if TYPE_CHECKING:
    from embedpipe.api.cors import Cors
    from embedpipe.api.services import Services

__all__ = [
    "ChunkServices",
    "EmbedServices",
    "MaintenanceServices",
    "StoreServices",
    "api",
    "chunk",
    "cors",
    "embed",
    "maintenance",
    "store",
]


@cache
def api() -> Services:
    """Wire `functions/api`."""
    from embedpipe.api.services import Services

    settings = ApiSettings.from_environment()
    key = secret_or(settings.single_user_api_key, settings.single_user_api_key_secret_arn)
    catalogue = load_catalogue(settings, parts.s3)
    settings = settings.model_copy(
        update={
            "single_user_api_key": key,
            "default_model_id": default_model_id(settings, catalogue),
        }
    )
    blobs = parts.blobs(settings.content_bucket)
    embedder = parts.embedder(settings)
    database = parts.database(settings)
    queues = parts.outboxes(settings, blobs)
    depths, dlq_depths = parts.depths(settings)
    return Services(
        database=database,
        blobs=blobs,
        chunk_queue=queues["chunk"],
        models=parts.models(settings, catalogue),
        query_embedder=embedder,
        embedder=embedder,
        settings=settings,
        queues=queues,
        depths=depths,
        dlq_depths=dlq_depths,
        controls=ControlReader(database.controls),
        event_sources=parts.event_sources(settings),
        dead_letters=dead_letter_parts(settings),
    )


@cache
def cors() -> Cors:
    """Say who may call `functions/api` from a page in a browser."""
    from embedpipe.api.cors import Cors

    return Cors.of(ApiSettings.from_environment().cors_allow_origins)


@cache
def chunk() -> ChunkServices:
    """Wire `functions/chunk`."""
    settings = ChunkSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    database = parts.database(settings)
    return ChunkServices(
        database=database,
        inbox=parts.queue("chunk", settings.chunk_queue_url, limit, blobs, settings.chunk_dlq_url),
        embed_queues=parts.embed_outboxes(settings, blobs),
        blobs=blobs,
        models=parts.models(settings, load_catalogue(settings, parts.s3)),
        policy=parts.policy(settings),
        settings=settings,
        controls=ControlReader(database.controls),
    )


@cache
def embed() -> EmbedServices:
    """Wire `functions/embed_gpu`; nothing is loaded yet."""
    from embedpipe.bootstrap.worker import services

    return services(EmbedSettings.from_environment())


@cache
def store() -> StoreServices:
    """Wire `functions/store`."""
    settings = StoreSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    database = parts.database(settings)
    return StoreServices(
        database=database,
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
        controls=ControlReader(database.controls),
    )


@cache
def maintenance() -> MaintenanceServices:
    """Wire `functions/maintenance`."""
    settings = MaintenanceSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    limit = settings.max_message_bytes
    depths, dlq_depths = parts.depths(settings)
    return MaintenanceServices(
        database=parts.database(settings),
        queues={
            "chunk": parts.queue("chunk", settings.chunk_queue_url, limit, blobs),
            **parts.embed_outboxes(settings, blobs),
            "store": parts.queue("store", settings.store_queue_url, limit, blobs),
        },
        blobs=blobs,
        settings=settings,
        depths=depths,
        dlq_depths=dlq_depths,
        event_sources=parts.event_sources(settings),
        dead_letters=dead_letter_parts(settings),
    )
