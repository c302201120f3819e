from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.adapters.memory.models import FakeEmbedder, FakeModels
from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.errors import NotFoundError
from embedpipe.ports import Embedder, Models

from tests.real_model import the_real_model
from tests.tiny_model import the_tiny_model

TEXTS = ["a", "queues hide messages.", "", "b c d, e f g!", "日本"]


@dataclass
class Backend:
    models: Models
    embedder: Embedder


@pytest.fixture(params=["fake", "tiny", "real"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "fake":
        return Backend(FakeModels(), FakeEmbedder())
    directory = the_tiny_model() if request.param == "tiny" else the_real_model()
    embedder = OnnxEmbedder(directory, provider="cpu", threads=1)
    return Backend(ModelsDirectory(directory.path.parent), embedder)


def test_an_embedder_gives_a_unit_vector_per_input_in_order(backend: Backend) -> None:
    model = backend.embedder.model
    ids = backend.models.tokenizer(model.model_id).encode(TEXTS)

    vectors = backend.embedder.embed(ids)

    backwards = backend.embedder.embed(ids[::-1])
    assert vectors.shape == (len(TEXTS), model.dimensions)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(vectors, backwards[::-1], atol=1e-5)


def test_an_embedder_gives_each_input_the_vector_it_has_alone(backend: Backend) -> None:
    ids = backend.models.tokenizer(backend.embedder.model.model_id).encode(TEXTS)

    together = backend.embedder.embed(ids)

    for row, one in enumerate(ids):
        np.testing.assert_allclose(backend.embedder.embed([one])[0], together[row], atol=1e-5)


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
