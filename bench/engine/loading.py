"""The embedders of a worker that is measured: what `functions/embed_gpu` would have."""

from __future__ import annotations

from embedpipe.adapters.embedders.loading import ModelLoader
from embedpipe.adapters.embedders.plan import Runtime
from embedpipe.adapters.embedders.pool import ModelPool
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.ports import Embedders
from embedpipe.settings import EmbedSettings


def load_embedders(settings: EmbedSettings, models: ModelsDirectory) -> Embedders:
    """Give the pool of models, each measured and loaded when it is first asked for."""
    runtime = Runtime(
        provider=settings.provider,
        precision=settings.precision,
        streams=settings.streams,
        threads=settings.threads,
        max_batch_tokens=settings.max_batch_tokens,
        tune_s=settings.tune_s,
        round_tokens=settings.buffer_tokens // 2,
    )
    loader = ModelLoader(models.directory, settings.models_dir, runtime)
    return ModelPool(
        loader,
        expect=loader.expect,
        max_models=settings.max_models,
        max_memory_bytes=settings.max_models_bytes,
        unload_timeout_s=settings.unload_timeout_s,
    )
