"""One adapter each, made of settings. Drivers are imported by the part that needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedpipe.adapters.secrets import conninfo, secret_or
from embedpipe.domain.lanes import NORMAL, QUEUES
from embedpipe.domain.retry import RetryPolicy
from embedpipe.settings import (
    ApiSettings,
    DatabaseSettings,
    EmbedQueueSettings,
    EventSourceSettings,
    ModelSettings,
    PipelineQueueSettings,
    RetrySettings,
)

if TYPE_CHECKING:
    from embedpipe.adapters.catalogue import CatalogueModels
    from embedpipe.adapters.embed_endpoint import HttpEmbedder
    from embedpipe.adapters.event_sources import LambdaEventSources
    from embedpipe.adapters.postgres import PostgresDatabase
    from embedpipe.adapters.s3 import S3Blobs
    from embedpipe.adapters.sqs import SqsQueue
    from embedpipe.domain.breakers import BreakerRules
    from embedpipe.models.catalogue import Catalogue
    from embedpipe.ports import Measured, Outbox


def database(
    settings: DatabaseSettings, *, breaker_rules: BreakerRules | None = None
) -> PostgresDatabase:
    """Give the database, its password read again when it is refused."""
    from embedpipe.adapters.postgres import PostgresDatabase

    return PostgresDatabase(
        lambda: conninfo(settings),
        min_size=settings.pool_min_size,
        max_size=settings.pool_max_size,
        startup_options=settings.startup_options,
        ef_search=settings.hnsw_ef_search,
        breaker_rules=breaker_rules,
    )


def queue(
    stage: str,
    url: str,
    max_message_bytes: int,
    blobs: S3Blobs | None = None,
    dlq_url: str | None = None,
    name: str | None = None,
) -> SqsQueue:
    """Give one queue, with its DLQ where it is read."""
    from embedpipe.adapters.aws import client
    from embedpipe.adapters.sqs import SqsQueue

    return SqsQueue(
        lambda: client("sqs"),
        url,
        stage=stage,
        name=name,
        dlq_url=dlq_url,
        max_message_bytes=max_message_bytes,
        blobs=blobs,
    )


def embed_queues(
    settings: EmbedQueueSettings, blobs: S3Blobs, dlq_url: str | None = None
) -> dict[str, SqsQueue]:
    """Give the embed queues by lane."""
    return {
        lane: queue("embed", url, settings.max_message_bytes, blobs, dlq_url, QUEUES[lane])
        for lane, url in settings.embed_queue_urls().items()
    }


def embed_outboxes(settings: EmbedQueueSettings, blobs: S3Blobs) -> dict[str, Outbox]:
    """Give the embed queue of every lane by its name in the outbox."""
    queues = embed_queues(settings, blobs)
    return {name: queues.get(lane, queues[NORMAL]) for lane, name in QUEUES.items()}


def outboxes(settings: PipelineQueueSettings, blobs: S3Blobs) -> dict[str, Outbox]:
    """Give every queue by its name in the outbox."""
    limit = settings.max_message_bytes
    return {
        "chunk": queue("chunk", settings.chunk_queue_url, limit, blobs),
        **embed_outboxes(settings, blobs),
        "store": queue("store", settings.store_queue_url, limit, blobs),
    }


def event_sources(settings: EventSourceSettings) -> LambdaEventSources:
    """Give the event source mappings."""
    from embedpipe.adapters.aws import client
    from embedpipe.adapters.event_sources import LambdaEventSources

    return LambdaEventSources(lambda: client("lambda"), settings.event_source_ids())


def depths(settings: PipelineQueueSettings) -> tuple[dict[str, Measured], dict[str, Measured]]:
    """Give what looks at queues, by name in the outbox, and at dead-letter queues, by stage."""
    from embedpipe.adapters.aws import glancing_client
    from embedpipe.adapters.sqs import SqsQueue

    urls = {
        "chunk": settings.chunk_queue_url,
        **{QUEUES[lane]: url for lane, url in settings.embed_queue_urls().items()},
        "store": settings.store_queue_url,
    }
    return (
        {name: SqsQueue(glancing_client, url, stage=name) for name, url in urls.items()},
        {
            stage: SqsQueue(glancing_client, url, stage=stage)
            for stage, url in settings.dlq_urls().items()
        },
    )


def blobs(bucket: str) -> S3Blobs:
    """Give the object store."""
    from embedpipe.adapters.s3 import S3Blobs

    return S3Blobs(s3, bucket)


def models(settings: ModelSettings, catalogue: Catalogue | None) -> CatalogueModels:
    """Give the models at hand. Raises CatalogueError."""
    from embedpipe.adapters.catalogue import catalogue_models

    return catalogue_models(settings, catalogue, s3)


def s3() -> Any:
    """Give the S3 client."""
    from embedpipe.adapters.aws import client

    return client("s3")


def embedder(settings: ApiSettings) -> HttpEmbedder | None:
    """Give the embed task's endpoint; None where there is none."""
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


def policy(settings: RetrySettings) -> RetryPolicy:
    """Give how often and when a message is tried again."""
    return RetryPolicy(
        settings.max_retries,
        settings.backoff_base_s,
        settings.backoff_cap_s,
        settings.max_deaths,
    )
