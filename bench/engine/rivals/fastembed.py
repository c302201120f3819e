"""fastembed, on our own graph: takes texts as they come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bench.engine.child import Answer
from bench.engine.rivals.common import Embed, Padded, run

_NAME = "local/model"


def load(first: Answer, padded: Padded) -> Embed:
    """Load the model from a folder: a hub is never asked."""
    import onnxruntime
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    session: Any = onnxruntime.InferenceSession
    plain = session.run

    def counted(self: Any, outputs: Any, feeds: Any, *rest: Any) -> Any:
        padded.count(feeds["input_ids"])
        return plain(self, outputs, feeds, *rest)

    session.run = counted
    TextEmbedding.add_custom_model(
        model=_NAME,
        pooling=PoolingType.DISABLED,  # the graph pools and normalizes
        normalization=False,
        sources=ModelSource(url="none"),
        dim=384,
        model_file="model.onnx",
    )
    model = TextEmbedding(_NAME, specific_model_path=str(_folder(first)))

    def embed(texts: list[str], batch: int) -> Any:
        return list(model.embed(texts, batch_size=batch))

    return embed


def _folder(first: Answer) -> Path:
    """Put together what it wants to find beside the graph.

    It knows nothing of `sentence_bert_config.json`, and would take 512 tokens where the model is
    to see 256.
    """
    folder = Path(first["scratch"]) / "folder"
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(first["model"])
    for name in ("config.json", "special_tokens_map.json", "tokenizer.json"):
        shutil.copyfile(source / name, folder / name)
    config = json.loads((source / "tokenizer_config.json").read_text())
    limit = json.loads((source / "sentence_bert_config.json").read_text())["max_seq_length"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": limit}))
    shutil.copyfile(first["graph"], folder / "model.onnx")
    return folder


if __name__ == "__main__":
    run(load)
