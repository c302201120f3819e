"""Compare a prepared model with vectors that sentence-transformers gave for the same texts."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from embedpipe.errors import ModelFilesError
from embedpipe.models.directory import GRAPH, TOKENIZER, ModelDirectory
from embedpipe.models.tokenizer_file import load_tokenizer

LEAST_COSINE = 0.9999


def compare(directory: ModelDirectory) -> float:
    """Give the smallest cosine similarity over the golden texts, each computed alone.

    1.0 for a model without golden vectors.

    Raises
    ------
    ModelFilesError
        A vector is further off than `LEAST_COSINE`, or has not the expected length.
    """
    import numpy as np
    from onnxruntime import InferenceSession

    rows = _rows(directory.manifest.model_id)
    tokenizer = load_tokenizer(directory.path / TOKENIZER)
    session = InferenceSession(directory.path / GRAPH, providers=["CPUExecutionProvider"])
    cosines = [1.0]
    for row in rows:
        ids = np.array([tokenizer.encode(row["text"]).ids], dtype=np.int64)
        [[vector]] = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        expected = np.array(row["vector"], dtype=np.float64)
        if vector.shape != expected.shape:
            raise ModelFilesError("the graph gives vectors of another length than expected")
        lengths = np.linalg.norm(expected) * np.linalg.norm(vector)
        cosines.append(float(expected @ vector / lengths))
    # Said this way round, NaN is refused as well.
    if not all(cosine >= LEAST_COSINE for cosine in cosines):
        raise ModelFilesError(f"the graph gives other vectors than expected: {min(cosines):.6f}")
    return min(cosines)


def _rows(model_id: str) -> list[dict[str, Any]]:
    file = resources.files("embedpipe.models") / f"{model_id}.golden.json"
    if not file.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return rows
