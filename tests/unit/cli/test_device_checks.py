from __future__ import annotations

import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from embedpipe.adapters.embedders import cuda, machine, session
from embedpipe.adapters.embedders.plan import Plan, Runtime
from embedpipe.adapters.embedders.tuning_file import TuningFiles
from embedpipe.cli import device_checks
from embedpipe.cli.checks import Finding
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.models.directory import GRAPH, ModelDirectory
from embedpipe.ports.models import Tuning

from tests.tiny_model import MODEL_ID, a_tiny_model

GPU = cuda.Driver("13.1", [cuda.Device("A GPU", 24_000_000_000, 20_000_000_000)])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBED_PROVIDER", raising=False)
    monkeypatch.setenv("DEFAULT_MODEL_ID", MODEL_ID)
    monkeypatch.setattr(device_checks, "_RUN_S", 0.01)


def found(name: str, findings: Any) -> Finding:
    [finding] = [finding for finding in findings if finding.name == name]
    return finding  # type: ignore[no-any-return]


def a_gpu(monkeypatch: pytest.MonkeyPatch, *, is_built: bool, error: str | None = None) -> None:
    def check(provider: str) -> None:
        if error:
            raise EmbedderUnavailableError(error)

    providers = ["CUDAExecutionProvider"] if is_built else ["CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    monkeypatch.setattr(cuda, "driver", lambda: GPU)
    monkeypatch.setattr(session, "check_provider", check)


def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise cuda.DriverError("no NVIDIA driver")

    monkeypatch.setattr(cuda, "driver", absent)


def test_the_runtime_is_told_with_what_it_was_built_with() -> None:
    finding = found("onnxruntime", device_checks.devices())

    assert finding.state == "ok"
    assert "CPU" in finding.found


def test_a_missing_runtime_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    [finding] = device_checks.devices()

    assert (finding.name, finding.state) == ("onnxruntime", "bad")


@pytest.mark.parametrize(("provider", "state"), [(None, "ok"), ("cpu", "ok"), ("cuda", "bad")])
def test_no_gpu_is_bad_only_where_one_is_wanted(
    monkeypatch: pytest.MonkeyPatch, provider: str | None, state: str
) -> None:
    no_gpu(monkeypatch)
    if provider:
        monkeypatch.setenv("EMBED_PROVIDER", provider)

    finding = found("gpu", device_checks.devices())

    assert finding.state == state
    assert finding.found == "none (no NVIDIA driver)"


def test_a_gpu_that_computes_is_told_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    a_gpu(monkeypatch, is_built=True)

    finding = found("gpu", device_checks.devices())

    assert finding.state == "ok"
    assert finding.found == "driver for CUDA 13.1; A GPU 24 GB (20.0 free); computes"


@pytest.mark.parametrize(("provider", "state"), [(None, "note"), ("cuda", "bad")])
@pytest.mark.parametrize("is_built", [True, False])
def test_a_gpu_that_cannot_be_used_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, provider: str | None, state: str, is_built: bool
) -> None:
    a_gpu(monkeypatch, is_built=is_built, error="libcublasLt.so.13 is not found")
    if provider:
        monkeypatch.setenv("EMBED_PROVIDER", provider)

    finding = found("gpu", device_checks.devices())

    assert finding.state == state
    assert finding.advice
    assert ("libcublasLt.so.13" in finding.found) is is_built


@pytest.mark.parametrize("version", ["2026.4.1", None])
def test_a_processor_with_bfloat16_is_told_how_to_use_it(
    monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError
        return version

    no_gpu(monkeypatch)
    monkeypatch.setattr(machine, "cpu_name", lambda: "A CPU avx512_bf16")
    monkeypatch.setattr(metadata, "version", installed)

    finding = found("cpu", device_checks.devices())

    assert finding.state == "ok"
    assert ("openvino 2026.4.1" in finding.found) is (version is not None)
    assert ("bf16" in finding.advice) is (version is None)


def test_without_a_model_nothing_is_timed(tmp_path: Path) -> None:
    assert list(device_checks.speed(tmp_path)) == []


def test_the_default_model_is_timed_and_nothing_is_written(tmp_path: Path) -> None:
    a_tiny_model(tmp_path)

    [finding] = device_checks.speed(tmp_path)

    assert (finding.name, finding.state) == ("speed", "ok")
    assert "tiny on cpu, fp32" in finding.found
    assert "tokens/s" in finding.found
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_ID]


def test_a_damaged_model_is_bad(tmp_path: Path) -> None:
    (a_tiny_model(tmp_path).path / GRAPH).write_bytes(b"not a graph")

    [finding] = device_checks.speed(tmp_path)

    assert (finding.name, finding.state) == ("speed", "bad")
    assert "not the pinned file" in finding.found


def test_what_was_measured_is_listed_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory: ModelDirectory = a_tiny_model(tmp_path)
    here = Plan(directory, Runtime("cpu")).circumstance()
    files = TuningFiles(tmp_path)
    files.write(here, Tuning(64, 7, streams=2, threads=1, tokens_per_s=12_345.6))
    files.write(replace(here, device="another"), Tuning(streams=9))
    used: list[Runtime] = []
    as_measured = device_checks._as_measured

    def spy(*arguments: Any) -> Runtime:
        used.append(as_measured(*arguments))
        return used[-1]

    monkeypatch.setattr(device_checks, "_as_measured", spy)

    findings = list(device_checks.speed(tmp_path))

    told = [finding.found for finding in findings if finding.name == "measured tiny"]
    assert any("2 x 1 threads, batches of 64 tokens, 12,346 tokens/s" in one for one in told)
    assert len(told) == 2
    assert used == [Runtime("cpu", streams=2, threads=1, max_batch_tokens=64, tune_s=0.0)]
