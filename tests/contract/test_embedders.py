from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from embedpipe.adapters.embedders import machine
from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.adapters.embedders.openvino import OpenVinoEmbedder
from embedpipe.adapters.memory.models import FakeEmbedder, FakeModels
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.errors import NotFoundError
from embedpipe.models.directory import ModelDirectory
from embedpipe.ports import Embedder, Models
from embedpipe.ports.models import Tuning

from tests.real_model import the_real_model
from tests.tiny_model import the_tiny_model

TEXTS = ["a", "queues hide messages.", "", "b c d, e f g!", "日本"]


@dataclass
class Backend:
    """`atol` is how far two numbers may be apart that should be the same."""

    models: Models
    embedder: Embedder
    atol: float = 1e-5


def openvino_embedder(directory: ModelDirectory, precision: str) -> Embedder:
    """Give one; without the optional package, skip."""
    pytest.importorskip("openvino", reason="the optional extra openvino is not installed")
    if precision == "bf16" and not machine.has_bf16():
        pytest.skip("this processor does not compute in bfloat16")
    return OpenVinoEmbedder(directory, precision=precision, tuning=Tuning(streams=2, threads=1))


@pytest.fixture(params=["fake", "tiny", "real", "openvino-fp32", "openvino-bf16"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "fake":
        return Backend(FakeModels(), FakeEmbedder())
    directory = the_tiny_model() if request.param == "tiny" else the_real_model()
    models = ModelsDirectory(directory.path.parent)
    library, _, precision = request.param.partition("-")
    if library == "openvino":
        embedder = openvino_embedder(directory, precision)
        return Backend(models, embedder, atol=2e-3 if precision == "bf16" else 1e-5)
    return Backend(models, OnnxEmbedder(directory, provider="cpu", threads=1))


def test_an_embedder_gives_a_unit_vector_per_input_in_order(backend: Backend) -> None:
    model = backend.embedder.model
    ids = backend.models.tokenizer(model.model_id).encode(TEXTS)

    vectors = backend.embedder.embed(ids)

    backwards = backend.embedder.embed(ids[::-1])
    assert vectors.shape == (len(TEXTS), model.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-3)
    np.testing.assert_allclose(vectors, backwards[::-1], atol=backend.atol)


def test_an_embedder_gives_each_input_the_vector_it_has_alone(backend: Backend) -> None:
    ids = backend.models.tokenizer(backend.embedder.model.model_id).encode(TEXTS)

    together = backend.embedder.embed(ids)

    for row, one in enumerate(ids):
        [alone] = backend.embedder.embed([one])
        np.testing.assert_allclose(alone, together[row], atol=backend.atol)
        assert alone @ together[row] >= 0.9999 * np.linalg.norm(alone)


def test_threads_may_use_an_embedder_at_the_same_time(backend: Backend) -> None:
    ids = backend.models.tokenizer(backend.embedder.model.model_id).encode(TEXTS)
    alone = [backend.embedder.embed([one]) for one in ids]

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(backend.embedder.embed, [[one] for one in ids] * 20))

    for place, vectors in enumerate(together):
        np.testing.assert_array_equal(vectors, alone[place % len(ids)])


def test_an_embedder_says_how_it_is_fastest(backend: Backend) -> None:
    tuning = backend.embedder.tuning

    assert tuning.max_batch_tokens > 0
    assert tuning.streams > 0
    assert tuning.overhead_tokens >= 0


def test_an_embedder_takes_the_longest_input(backend: Backend) -> None:
    model = backend.embedder.model

    vectors = backend.embedder.embed([[5] * model.max_tokens])

    assert vectors.shape == (1, model.dimensions)


def test_an_embedder_gives_no_vectors_for_no_input(backend: Backend) -> None:
    assert backend.embedder.embed([]).shape == (0, backend.embedder.model.dimensions)


def test_the_models_know_the_model_of_the_embedder(backend: Backend) -> None:
    model = backend.embedder.model

    assert backend.models.get(model.model_id) == model
    assert backend.models.tokenizer(model.model_id).model == model


def test_a_model_that_is_not_there_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFoundError) as caught:
        backend.models.get("no-such-model")

    assert caught.value.code == "MODEL_NOT_FOUND"


def test_a_tokenizer_gives_offsets_into_the_text_without_special_tokens(backend: Backend) -> None:
    tokenizer = backend.models.tokenizer(backend.embedder.model.model_id)
    text = "a b, é 日本 x"

    encoding = tokenizer.offsets(text)

    [ids] = tokenizer.encode([text])
    assert len(ids) == len(encoding.ids) + tokenizer.model.special_tokens
    assert [text[start:end] for start, end in encoding.offsets] == [
        "a", "b", ",", "é", "日", "本", "x",
    ]  # fmt: skip
