"""A directory as sentence-transformers saves one, of the tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.tiny_model import CONFIG, MAX_TOKENS, MODULES, tiny_tokenizer_json, tiny_weights

README = "---\nlicense: mit\n---\n# A model\n"


def a_sentence_directory(folder: Path, files: dict[str, Any] | None = None) -> Path:
    """Write one; `files` replaces files by name, and leaves out those that are None."""
    from safetensors.numpy import save

    contents: dict[str, Any] = {
        "model.safetensors": save(tiny_weights()),
        "tokenizer.json": tiny_tokenizer_json(),
        "config.json": CONFIG,
        "modules.json": MODULES,
        "config_sentence_transformers.json": {
            "prompts": {"query": "q: ", "document": ""},
            "similarity_fn_name": "cosine",
        },
        "sentence_bert_config.json": {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "word_embedding_dimension": 8},
        "README.md": README,
        **(files or {}),
    }
    for name, data in contents.items():
        if data is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_bytes(data))
    return folder


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    return (data if isinstance(data, str) else json.dumps(data)).encode()
