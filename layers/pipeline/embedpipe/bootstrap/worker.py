"""The embed worker's parts: models here and at providers, and all that is kept about them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from embedpipe import telemetry
from embedpipe.adapters.catalogue_files import default_model_id, load_catalogue, pool_bounds
from embedpipe.adapters.secrets import secret_or
from embedpipe.bootstrap import parts
from embedpipe.bootstrap.services import EmbedServices
from embedpipe.domain.breakers import BreakerRules
from embedpipe.settings import EmbedSettings
from embedpipe.stages.controls import ControlReader
from embedpipe.worker.cache import VectorCache

if TYPE_CHECKING:
    from pathlib import Path

    from embedpipe.adapters.catalogue import CatalogueModels
    from embedpipe.adapters.embedders.loading import LoadReport
    from embedpipe.adapters.embedders.pool import ModelPool
    from embedpipe.adapters.embedders.remote.pool import RemotePool
    from embedpipe.models.catalogue import Catalogue


def services(settings: EmbedSettings) -> EmbedServices:
    """Wire the worker. Models are loaded when they are first asked for."""
    catalogue = load_catalogue(settings, parts.s3)
    models = parts.models(settings, catalogue)
    settings = settings.model_copy(
        update={
            "default_model_id": default_model_id(settings, catalogue),
            "http_token": secret_or(settings.http_token, settings.http_secret_arn),
        }
    )
    blobs = parts.blobs(settings.content_bucket)
    database = parts.database(
        settings,
        breaker_rules=BreakerRules(
            failure_threshold=settings.breaker_failure_threshold,
            recovery_s=settings.breaker_recovery_s,
        ),
    )
    return EmbedServices(
        database=database,
        inboxes=parts.embed_queues(settings, blobs, settings.embed_dlq_url),
        store_queue=parts.queue(
            "store", settings.store_queue_url, settings.max_message_bytes, blobs
        ),
        blobs=blobs,
        models=models,
        embedders=_pool(settings, catalogue, models),
        policy=parts.policy(settings),
        settings=settings,
        remotes=_remotes(settings, catalogue),
        breakers=database.breakers,
        cache=VectorCache(settings.cache_bytes),
        controls=ControlReader(database.controls),
    )


def _pool(
    settings: EmbedSettings, catalogue: Catalogue | None, models: CatalogueModels
) -> ModelPool:
    from embedpipe.adapters.catalogue_files import models_dir
    from embedpipe.adapters.embedders.loading import ModelLoader
    from embedpipe.adapters.embedders.plan import Runtime
    from embedpipe.adapters.embedders.pool import ModelPool
    from embedpipe.adapters.embedders.session import check_provider

    if models.get(settings.default_model_id).is_remote:
        # Nothing is loaded at the start, and a device that is asked for and not there must show.
        check_provider(settings.provider)
    folder: Path = models_dir(settings, catalogue)
    loader = ModelLoader(
        models.directory,
        folder,
        Runtime(
            provider=settings.provider,
            precision=settings.precision,
            streams=settings.streams,
            threads=settings.threads,
            max_batch_tokens=settings.max_batch_tokens,
            tune_s=settings.tune_s,
            # What lies planned at once: on a GPU as much as is held, on a CPU some seconds of work.
            round_tokens=settings.buffer_tokens // 2 if settings.provider == "cuda" else 16_384,
        ),
        report=_report,
    )
    max_models, max_bytes, timeout_s = pool_bounds(settings, catalogue)
    return ModelPool(
        loader,
        expect=loader.expect,
        max_models=max_models,
        max_memory_bytes=max_bytes,
        unload_timeout_s=timeout_s,
    )


def _remotes(settings: EmbedSettings, catalogue: Catalogue | None) -> RemotePool | None:
    if catalogue is None or not catalogue.remote:
        return None
    from embedpipe.adapters.embedders.remote.keys import ProviderKeys, from_secrets_manager
    from embedpipe.adapters.embedders.remote.pool import RemotePool

    keys = ProviderKeys(
        settings.provider_keys(),
        read=from_secrets_manager,
        shared_arn=settings.provider_keys_secret_arn,
        environment=os.environ,
    )
    return RemotePool(catalogue.remote, keys)


def _report(load: LoadReport) -> None:
    tuning = load.tuning
    keys: dict[str, object] = {
        "model_id": load.model_id,
        "precision": load.precision,
        "device": load.device,
        "tuning": load.how,
        "max_batch_tokens": tuning.max_batch_tokens,
        "overhead_tokens": tuning.overhead_tokens,
        "streams": tuning.streams,
        "threads": tuning.threads,
        "tokens_per_s": round(tuning.tokens_per_s),
        "load_s": round(load.load_s, 3),
        "memory_mb": round(load.memory_bytes / 1e6),
    }
    logger = telemetry.of("embed").logger
    logger.info("model is loaded", extra=keys)
    if load.problem is not None:
        logger.warning(
            "model was measured in vain", extra={"model_id": load.model_id, "reason": load.problem}
        )
