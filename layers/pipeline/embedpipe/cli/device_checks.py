"""What `embedpipe doctor` finds out about computing: libraries, GPU, speed, measurements."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from embedpipe.cli.checks import Finding
from embedpipe.errors import EmbedderUnavailableError, PipelineError
from embedpipe.settings import ModelSettings

if TYPE_CHECKING:
    from embedpipe.adapters.embedders.plan import Runtime
    from embedpipe.models.directory import ModelDirectory
    from embedpipe.ports.models import ModelInfo, Tuning

_RUN_S = 1.0
_TOKENS = 4096


def devices() -> Iterator[Finding]:
    """Look at the libraries that compute, and at the GPU."""
    try:
        import onnxruntime
    except ImportError:
        advice = "run `make setup`; a GPU needs the extra `gpu` in place of `cpu`"
        yield Finding("onnxruntime", "bad", "missing", advice)
        return
    providers = [
        name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()
    ]
    # That a provider is listed says only what was built in.
    found = f"{onnxruntime.__version__}, built with {', '.join(providers)}"
    yield Finding("onnxruntime", "ok", found)
    yield _cpu()
    yield _gpu("CUDA" in providers)


def speed(models_dir: Path) -> Iterator[Finding]:
    """Run the default model for a moment, and list what was measured before."""
    from embedpipe.adapters.embedders.tuning_file import TuningFiles
    from embedpipe.models.directory import ModelDirectory

    kept = TuningFiles(models_dir).all()
    model_id = ModelSettings.from_environment().default_model_id
    try:
        directory = ModelDirectory.read(models_dir / model_id)
        yield _speed(directory, models_dir, kept)
    except FileNotFoundError:
        return
    # Whatever the runtime raises is a finding, and no reason to stop looking.
    except Exception as exc:  # noqa: BLE001
        reason = exc.message if isinstance(exc, PipelineError) else type(exc).__name__
        advice = "see what `embedpipe models verify` says"
        yield Finding("speed", "bad", f"{model_id} does not run: {reason}", advice)
    for where, tuning in kept:
        how = f"{where['provider']} {where['precision']}, {where['device']}, {where['runtime']}"
        yield Finding(f"measured {where['model_id']}", "ok", f"{_told(tuning)} ({how})")


def _cpu() -> Finding:
    from embedpipe.adapters.embedders import machine

    found = f"{machine.cpu_name()}, {machine.cores()} cores for this process"
    if not machine.has_bf16():
        return Finding("cpu", "ok", found)
    try:
        version = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        advice = "the extra `openvino` and EMBED_PRECISION=bf16 make it about 1.5 times as fast"
        return Finding("cpu", "ok", found, advice)
    return Finding("cpu", "ok", f"{found}, openvino {version}")


def _gpu(is_built: bool) -> Finding:
    """Say whether a GPU is there and computes: bad only where the worker is told to use it."""
    from embedpipe.adapters.embedders import cuda
    from embedpipe.adapters.embedders.session import check_provider

    is_wanted = os.environ.get("EMBED_PROVIDER") == "cuda"
    try:
        driver = cuda.driver()
    except cuda.DriverError as exc:
        advice = "install the driver, or set EMBED_PROVIDER=cpu" if is_wanted else ""
        return Finding("gpu", "bad" if is_wanted else "ok", f"none ({exc})", advice)
    found = f"driver for CUDA {driver.cuda_version}; " + ", ".join(
        f"{one.name} {one.memory_bytes / 1e9:.0f} GB"
        + (f" ({one.free_bytes / 1e9:.1f} free)" if one.free_bytes is not None else "")
        for one in driver.devices
    )
    if not is_built:
        advice = "to use it, install the extra `gpu` in place of `cpu`"
        return Finding("gpu", "bad" if is_wanted else "note", found, advice)
    try:
        check_provider("cuda")
    except EmbedderUnavailableError as exc:
        advice = "install functions/embed_gpu/requirements.txt, and a driver that is new enough"
        return Finding("gpu", "bad" if is_wanted else "note", f"{found}: {exc.message}", advice)
    return Finding("gpu", "ok", f"{found}; computes")


def _speed(
    directory: ModelDirectory, models_dir: Path, kept: list[tuple[dict[str, str | int], Tuning]]
) -> Finding:
    from embedpipe.adapters.embedders.loading import LoadReport, ModelLoader
    from embedpipe.adapters.embedders.race import Work, rate
    from embedpipe.adapters.embedders.tuning import planned

    model = directory.info
    reports: list[LoadReport] = []
    loader = ModelLoader(
        lambda _: directory, models_dir, _as_measured(model, kept), report=reports.append
    )
    embedder = loader(model.model_id).embedder
    work = Work(planned(model.max_tokens, _TOKENS, embedder.tuning))
    reached = rate(embedder, embedder.tuning.streams, work, _RUN_S, time.perf_counter)
    [report] = reports
    return Finding(
        "speed",
        "ok",
        f"{model.model_id} on cpu, {report.precision}: {reached:,.0f} tokens/s, "
        f"loaded in {report.load_s:.1f} s, {report.memory_bytes / 1e6:.0f} MB",
    )


def _as_measured(model: ModelInfo, kept: list[tuple[dict[str, str | int], Tuning]]) -> Runtime:
    """Give what was measured for this model and processor, without measuring now."""
    from embedpipe.adapters.embedders import machine
    from embedpipe.adapters.embedders.plan import Runtime

    here = {"fingerprint": model.fingerprint, "provider": "cpu", "precision": "fp32"}
    here |= {"device": machine.cpu_name()}
    for where, tuning in kept:
        if here.items() <= where.items() and where["cores"] == machine.cores():
            return Runtime(
                "cpu",
                streams=tuning.streams,
                threads=tuning.threads,
                max_batch_tokens=tuning.max_batch_tokens,
                tune_s=0.0,
            )
    return Runtime("cpu", tune_s=0.0)


def _told(tuning: Tuning) -> str:
    return (
        f"{tuning.streams} x {tuning.threads} threads, batches of {tuning.max_batch_tokens} "
        f"tokens, {tuning.tokens_per_s:,.0f} tokens/s"
    )
