from __future__ import annotations

import pytest
from embedpipe.adapters.embedders.local_query import LocalQueryEmbedder
from embedpipe.adapters.memory import FakeEmbedder, FakeTokenizer
from embedpipe.adapters.memory.models import fake_model
from embedpipe.errors import EmbedderUnavailableError

MODEL = fake_model(max_tokens=8)


def an_embedder() -> LocalQueryEmbedder:
    return LocalQueryEmbedder(FakeEmbedder(MODEL), FakeTokenizer(MODEL))


def test_a_query_has_the_vector_of_its_text() -> None:
    vector = an_embedder().embed_query("some text", MODEL.fingerprint)

    [expected] = FakeEmbedder(MODEL).embed(FakeTokenizer(MODEL).encode(["some text"]))
    assert vector == expected.tolist()


def test_a_long_query_is_cut() -> None:
    words = "a b c d e f g h i j"

    assert an_embedder().embed_query(words, MODEL.fingerprint) == an_embedder().embed_query(
        "a b c d e f", MODEL.fingerprint
    )


def test_another_model_is_unavailable() -> None:
    embedder = an_embedder()

    embedder.check()
    with pytest.raises(EmbedderUnavailableError):
        embedder.embed_query("some text", "f" * 64)


def test_parts_of_different_models_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="different models"):
        LocalQueryEmbedder(FakeEmbedder(), FakeTokenizer(fake_model("other")))
