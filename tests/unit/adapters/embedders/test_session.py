from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from embedpipe.adapters.embedders import cuda, session
from embedpipe.adapters.embedders.session import check_provider, open_session
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.models.directory import GRAPH

from tests.tiny_model import the_tiny_model

CUDA = "CUDAExecutionProvider"


@pytest.fixture
def built_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that claims CUDA, as the GPU wheel does on every machine, and no driver."""
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(cuda, "missing", lambda: "no NVIDIA driver")


def test_asking_for_a_device_that_the_runtime_was_not_built_for_fails() -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is built for CUDA")

    with pytest.raises(EmbedderUnavailableError, match="without cuda: install onnxruntime-gpu"):
        check_provider("cuda")


@pytest.mark.usefixtures("built_for_cuda")
def test_a_runtime_that_goes_on_with_the_cpu_in_silence_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OnTheCpu:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpu)

    with pytest.raises(EmbedderUnavailableError, match="did not start cuda: no NVIDIA driver"):
        check_provider("cuda")


@pytest.mark.usefixtures("built_for_cuda")
def test_the_runtime_is_told_never_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def refuse(graph: str, **options: Any) -> Any:
        seen.update(options)
        raise RuntimeError("no device")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)

    with pytest.raises(EmbedderUnavailableError, match=r"no CUDA device .*: no NVIDIA driver"):
        open_session(b"", "cuda", threads=8)

    option = seen["sess_options"].get_session_config_entry
    assert [name for name, _ in seen["providers"]] == [CUDA]
    assert seen["enable_fallback"] == 0
    assert seen["sess_options"].intra_op_num_threads == 1
    assert option("session.disable_cpu_ep_fallback") == "1"
    assert option("session.intra_op.allow_spinning") == "0"


def test_a_device_that_computes_passes() -> None:
    check_provider("cpu")


@pytest.mark.parametrize("answer", [[[2.0, 2.0, 2.0, 0.0]], None])
def test_a_device_that_computes_wrongly_or_not_at_all_does_not(
    monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    class Broken:
        def run(self, *arguments: Any) -> Any:
            import numpy as np

            if answer is None:
                raise RuntimeError
            return np.array(answer, np.float32)

    monkeypatch.setattr(session, "open_session", lambda *arguments: Broken())

    with pytest.raises(EmbedderUnavailableError, match=r"cpu (computes wrongly|does not compute)"):
        check_provider("cpu")


def test_the_slow_fused_norm_is_left_out_on_a_cpu_and_only_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graph = the_tiny_model().path / GRAPH

    def operators(disabled: list[str]) -> set[str]:
        import onnx

        options = session._options("cpu", 1)
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        monkeypatch.setattr(session, "_options", lambda provider, threads: options)
        monkeypatch.setitem(session._DISABLED, "cpu", disabled)
        open_session(graph, "cpu", threads=1)
        monkeypatch.undo()
        return {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}

    assert "SkipLayerNormalization" in operators([])
    assert "SkipLayerNormalization" not in operators(session._DISABLED["cpu"])
    assert session._DISABLED["cuda"] == []
