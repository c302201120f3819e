from __future__ import annotations

from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.embedders.onnx import OnnxEmbedder, best_precision
from embedpipe.errors import BadVectorError, ModelFilesError, PoisonChunkError
from embedpipe.models.directory import GRAPH, ModelDirectory, Pooling
from embedpipe.ports.models import Tuning

from tests.tiny_model import DIMENSIONS, MAX_TOKENS, a_tiny_model, the_tiny_model

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


def test_bound_memory_gives_the_same_vectors() -> None:
    embedder = an_embedder()
    embedder._is_bound = True

    vectors = embedder.embed(INPUTS)

    np.testing.assert_array_equal(vectors, an_embedder().embed(INPUTS))


@pytest.mark.parametrize("is_bound", [False, True])
def test_threads_share_a_session_and_get_their_own_vectors(is_bound: bool) -> None:
    embedder = an_embedder()
    embedder._is_bound = is_bound
    inputs = [[[2, *range(4, 4 + number % 9), 3]] for number in range(40)]
    alone = [embedder.embed(one) for one in inputs]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(embedder.embed, inputs * 10))

    for number, vectors in enumerate(together):
        np.testing.assert_array_equal(vectors, alone[number % 40])


def test_ids_may_be_any_sequence_of_whole_numbers() -> None:
    embedder = an_embedder()
    alike: list[Any] = [array("H", [2, 5, 3]), (2, 5, 3), np.array([2, 5, 3], np.uint32)]

    vectors = embedder.embed(alike)

    expected = np.repeat(embedder.embed([[2, 5, 3]]), 3, axis=0)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_it_says_what_it_is() -> None:
    tuning = Tuning(max_batch_tokens=99, streams=2, threads=1)

    embedder = an_embedder(tuning=tuning, threads=0)

    assert embedder.tuning == tuning
    assert (embedder.device, embedder.precision) == ("cpu", "fp32")


def test_a_precision_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ModelFilesError, match="has no fp16 graph"):
        an_embedder(precision="fp16")


def test_float16_is_the_choice_on_cuda_where_the_model_has_it() -> None:
    directory = the_tiny_model()
    both = SimpleNamespace(precisions=("fp32", "fp16"))

    assert best_precision(directory, "cuda") == "fp32"
    assert best_precision(both, "cuda") == "fp16"  # type: ignore[arg-type]
    assert best_precision(both, "cpu") == "fp32"  # type: ignore[arg-type]
