"""sentence-transformers, on torch or on ONNX Runtime: sorts all it is given by length."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.engine.child import Answer
from bench.engine.rivals.common import Embed, Padded, run


def load(first: Answer, padded: Padded, backend: Any) -> Embed:
    """Load the model as its documentation says."""
    from sentence_transformers import SentenceTransformer

    path = first["model"] if backend == "torch" else _exported(first)
    model = SentenceTransformer(path, device="cpu", backend=backend)
    model[0].register_forward_pre_hook(lambda _, features: padded.count(features[0]["input_ids"]))

    def embed(texts: list[str], batch: int) -> Any:
        return model.encode(texts, batch_size=batch, show_progress_bar=False)

    return embed


def _exported(first: Answer) -> str:
    """Export the graph once, beside the environment: loading would do it each time."""
    from sentence_transformers import SentenceTransformer

    target = Path(first["scratch"]) / "exported"
    if not (target / "modules.json").exists():
        SentenceTransformer(first["model"], device="cpu", backend="onnx").save_pretrained(
            str(target)
        )
    return str(target)


if __name__ == "__main__":
    run(lambda first, padded: load(first, padded, sys.argv[1]))
