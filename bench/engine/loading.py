"""The embedders of a worker that is measured: what `functions/embed_gpu` would have."""

from __future__ import annotations

from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.adapters.embedders.pool import Loaded, ModelPool
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.ports import Embedders
from embedpipe.settings import EmbedSettings


def load_embedders(settings: EmbedSettings, models: ModelsDirectory) -> Embedders:
    """Give the pool of models, each loaded when it is first asked for."""

    def load(model_id: str) -> Loaded:
        embedder = OnnxEmbedder(models.directory(model_id), provider="cpu")
        return Loaded(embedder, "fp32", "cpu", 1)

    return ModelPool(load)
