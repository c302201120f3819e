"""The embed worker's services with a model that needs no files."""

from __future__ import annotations

from embedpipe.adapters.memory import FakeEmbedder, FakeEmbedders, FakeModels
from embedpipe.bootstrap import EmbedServices, parts
from embedpipe.settings import EmbedSettings

MODEL = FakeModels().get("fake")


def embed_services(embedder: FakeEmbedder) -> EmbedServices:
    """Wire them as the environment says."""
    settings = EmbedSettings.from_environment()
    blobs = parts.blobs(settings.content_bucket)
    database = parts.database(settings)
    return EmbedServices(
        database=database,
        inboxes=parts.embed_queues(settings, blobs, settings.embed_dlq_url),
        store_queue=parts.queue(
            "store", settings.store_queue_url, settings.max_message_bytes, blobs
        ),
        blobs=blobs,
        models=FakeModels(MODEL),
        embedders=FakeEmbedders(embedder),
        policy=parts.policy(settings),
        settings=settings,
        breakers=database.breakers,
    )
