from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from embedpipe.adapters.embedders import onnx
from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.errors import (
    BadVectorError,
    EmbedderUnavailableError,
    ModelFilesError,
    PoisonChunkError,
)
from embedpipe.models.directory import GRAPH, ModelDirectory, Pooling

from tests.tiny_model import DIMENSIONS, MAX_TOKENS, a_tiny_model, the_tiny_model

CUDA = "CUDAExecutionProvider"
INPUTS = [[2, 5, 3], [2, 9, 30, 31, 34, 3], [2, 3]]


def an_embedder(directory: ModelDirectory | None = None, **options: Any) -> OnnxEmbedder:
    return OnnxEmbedder(
        directory or the_tiny_model(), **{"provider": "cpu", "threads": 1, **options}
    )


class FixedSession:
    """Answers every run with the same array."""

    def __init__(self, output: Any) -> None:
        self.output = np.asarray(output, dtype=np.float32)

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        return [self.output]


def an_embedder_that_gives(output: Any, **changes: Any) -> OnnxEmbedder:
    embedder = an_embedder()
    embedder._session = FixedSession(output)
    embedder._manifest = embedder._manifest.model_copy(update=changes)
    return embedder


def test_vectors_come_in_order_as_unit_float32() -> None:
    embedder = an_embedder()

    vectors = embedder.embed(INPUTS)

    alone = np.concatenate([embedder.embed([ids]) for ids in INPUTS])
    np.testing.assert_allclose(vectors, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors.dtype == np.float32


def test_no_input_gives_no_vectors() -> None:
    assert an_embedder().embed([]).shape == (0, DIMENSIONS)


@pytest.mark.parametrize("bad", [[], [1] * (MAX_TOKENS + 1)])
def test_an_input_that_the_model_does_not_take_is_poison(bad: list[int]) -> None:
    with pytest.raises(PoisonChunkError, match="1 to 16 tokens"):
        an_embedder().embed([[2, 3], bad])


def test_an_id_that_the_model_does_not_know_raises() -> None:
    with pytest.raises(Exception, match="out of"):
        an_embedder().embed([[2, 4_000_000, 3]])


@pytest.mark.parametrize(
    "row",
    [
        [np.nan] + [0.0] * (DIMENSIONS - 1),
        [np.inf] + [0.0] * (DIMENSIONS - 1),
        [0.0] * DIMENSIONS,
        [1.1] + [0.0] * (DIMENSIONS - 1),
        [1.0],
    ],
)
def test_a_vector_that_is_not_of_unit_length_is_refused(row: list[float]) -> None:
    with pytest.raises(BadVectorError):
        an_embedder_that_gives([row]).embed([[2, 3]])


def test_a_graph_that_stops_at_the_hidden_states_is_pooled_here() -> None:
    hidden = np.zeros((1, 2, DIMENSIONS))
    hidden[0, 0, 0], hidden[0, 1, 1] = 3.0, 4.0
    embedder = an_embedder_that_gives(hidden, pooling=Pooling(type="mean", in_graph=False))

    [vector] = embedder.embed([[2, 3]])

    np.testing.assert_allclose(vector[:3], [0.6, 0.8, 0], rtol=1e-6)


def test_a_model_without_normalisation_keeps_its_lengths() -> None:
    row = [2.0] + [0.0] * (DIMENSIONS - 1)

    vectors = an_embedder_that_gives([row], normalize=False).embed([[2, 3]])

    assert vectors.tolist() == [row]


def test_the_first_run_is_timed() -> None:
    assert an_embedder().warm_up_s > 0


def test_damaged_weights_are_not_loaded(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    (directory.path / GRAPH).write_bytes(b"not a graph")

    with pytest.raises(ModelFilesError, match="not the pinned file"):
        an_embedder(directory)


def test_asking_for_a_device_that_the_runtime_was_not_built_for_fails() -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is built for CUDA")

    with pytest.raises(EmbedderUnavailableError, match="built without cuda"):
        an_embedder(provider="cuda")


def test_a_runtime_that_goes_on_with_the_cpu_in_silence_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OnTheCpu:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpu)

    with pytest.raises(EmbedderUnavailableError, match="did not start cuda"):
        an_embedder(provider="cuda")


def test_the_runtime_is_told_never_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def refuse(graph: str, **options: Any) -> Any:
        seen.update(options)
        raise RuntimeError("no device")

    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)

    with pytest.raises(EmbedderUnavailableError, match="no CUDA device"):
        an_embedder(provider="cuda")

    option = seen["sess_options"].get_session_config_entry
    assert seen["providers"] == [CUDA]
    assert seen["enable_fallback"] == 0
    assert option("session.disable_cpu_ep_fallback") == "1"
    assert option("session.intra_op.allow_spinning") == "0"


def test_bound_memory_gives_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(onnx._PROVIDERS, "cuda", ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    options = onnx._options
    monkeypatch.setattr(onnx, "_options", lambda provider, threads: options("cpu", threads))

    vectors = an_embedder(provider="cuda").embed(INPUTS)

    np.testing.assert_array_equal(vectors, an_embedder().embed(INPUTS))
