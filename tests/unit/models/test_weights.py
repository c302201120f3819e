from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models import weights
from embedpipe.models.fingerprint import sha256_of
from embedpipe.models.weights import Weights
from safetensors.numpy import save_file

WORDS = np.arange(6, dtype=np.float32).reshape(3, 2)


def written(path: Path, tensors: dict[str, np.ndarray]) -> Path:  # type: ignore[type-arg]
    save_file(tensors, path)
    return path


def test_the_name_of_a_model_with_a_head_is_taken_away(tmp_path: Path) -> None:
    path = written(
        tmp_path / "model.safetensors",
        {
            "bert.embeddings.word_embeddings.weight": WORDS,
            "bert.embeddings.LayerNorm.gamma": WORDS,
            "bert.embeddings.LayerNorm.beta": WORDS,
            "cls.predictions.bias": WORDS,
        },
    )

    assert sorted(Weights([path])) == [
        "cls.predictions.bias",
        "embeddings.LayerNorm.bias",
        "embeddings.LayerNorm.weight",
        "embeddings.word_embeddings.weight",
    ]


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_weights_of_half_precision_are_read(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "model.safetensors"
    name = "embeddings.word_embeddings.weight"
    data = WORDS.astype(kind).tobytes()
    code = "F16" if kind is np.float16 else "BF16"
    header = json.dumps({name: {"dtype": code, "shape": [3, 2], "data_offsets": [0, len(data)]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + data)

    assert Weights([path])[name].astype(np.float32).tolist() == WORDS.tolist()


def test_weights_in_several_files_are_one(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        written(tmp_path / f"model-{number}.safetensors", {name: WORDS})
    index = {"weight_map": {"a": "model-0.safetensors", "b": "model-1.safetensors"}}
    (tmp_path / weights.INDEX).write_text(json.dumps(index))

    files = weights.find(tmp_path)

    assert sorted(Weights(files)) == ["a", "b"]
    assert weights.digest_of(files) != weights.digest_of(files[::-1])
    assert weights.digest_of(files[:1]) == sha256_of(files[0])


def test_an_index_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / weights.INDEX).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))

    with pytest.raises(ModelFilesError, match="lies outside"):
        weights.find(tmp_path)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x80\x04pickle")

    with pytest.raises(ModelFilesError, match="is not a safetensors file"):
        Weights([path])


def test_a_pickle_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")

    assert weights.find(tmp_path) == []
    assert "can execute code" in weights.why_none(tmp_path)
