from __future__ import annotations

import numpy as np
import pytest
from embedpipe.adapters.memory.models import (
    FakeEmbedder,
    FakeModels,
    FakeQueryEmbedder,
    FakeTokenizer,
    fake_model,
)
from embedpipe.errors import EmbedderUnavailableError, NotFoundError


def test_words_punctuation_and_cjk_characters_are_tokens() -> None:
    text = "Don't, 日本abc 😀"

    offsets = FakeTokenizer().offsets(text).offsets

    assert [text[start:end] for start, end in offsets] == [
        "Don", "'", "t", ",", "日", "本", "abc", "😀",
    ]  # fmt: skip


def test_texts_that_share_words_are_nearer() -> None:
    ids = FakeTokenizer().encode(["queues hide messages", "messages in queues", "a cat sleeps"])

    one, same, other = FakeEmbedder().embed(ids)

    assert one @ same > one @ other
    np.testing.assert_allclose(np.linalg.norm([one, same, other], axis=1), 1, rtol=1e-6)


def test_even_an_empty_text_has_a_vector() -> None:
    [vector] = FakeEmbedder().embed(FakeTokenizer().encode([""]))

    assert np.linalg.norm(vector) == pytest.approx(1)


def test_a_batch_with_a_poison_id_fails_and_is_recorded() -> None:
    embedder = FakeEmbedder(poison_ids={66})

    with pytest.raises(RuntimeError):
        embedder.embed([[1, 5, 2], [1, 66, 2]])

    assert embedder.calls == [[[1, 5, 2], [1, 66, 2]]]
    assert len(embedder.embed([[1, 5, 2]])) == 1


def test_a_query_has_the_vector_of_the_same_text() -> None:
    query = FakeQueryEmbedder()
    fingerprint = FakeModels().get("fake").fingerprint

    vector = query.embed_query("hello", fingerprint)

    assert vector == FakeEmbedder().embed(FakeTokenizer().encode(["hello"]))[0].tolist()


def test_a_query_for_another_model_or_with_nobody_there_is_unavailable() -> None:
    query = FakeQueryEmbedder()
    with pytest.raises(EmbedderUnavailableError):
        query.embed_query("hello", "0" * 64)

    query.available = False

    with pytest.raises(EmbedderUnavailableError):
        query.check()


def test_models_are_found_by_id_with_the_fingerprint_that_was_set() -> None:
    models = FakeModels(fake_model("one"), fake_model("two", fingerprint="f" * 64))

    assert models.get("two").fingerprint == "f" * 64
    assert models.tokenizer("one").model == models.get("one")
    with pytest.raises(NotFoundError):
        models.get("fake")
