"""infinity, on torch: a queue of its own, sorted some batches at a time."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.engine.child import Answer
from bench.engine.rivals.common import Embed, Padded, run


def load(first: Answer, padded: Padded) -> Embed:
    """Load the model; a batch size is an engine's own, so another size is another engine."""
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs
    from sentence_transformers.models import Transformer

    plain = Transformer.forward

    def counted(self: Any, features: Any, **options: Any) -> Any:
        padded.count(features["input_ids"])
        return plain(self, features, **options)

    Transformer.forward = counted
    runner = asyncio.Runner()
    engines: dict[int, Any] = {}

    async def embed_all(texts: list[str], batch: int) -> Any:
        if batch not in engines:
            # One at a time: an engine that waits keeps threads that look for work.
            for other in list(engines):
                await engines.pop(other).astop()
            arguments = EngineArgs(
                model_name_or_path=first["model"],
                engine="torch",
                device="cpu",
                batch_size=batch,
                model_warmup=False,
            )
            engines[batch] = AsyncEmbeddingEngine.from_args(arguments)
            await engines[batch].astart()
        vectors, _ = await engines[batch].embed(sentences=texts)
        return vectors

    return lambda texts, batch: runner.run(embed_all(texts, batch))


if __name__ == "__main__":
    run(load)
