"""Our vectors are those of sentence-transformers, whatever they are computed beside."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.adapters.tokenizer import PIECE_CHARACTERS, HuggingFaceTokenizer
from embedpipe.domain.batching import plan_batches
from embedpipe.models.directory import TOKENIZER
from embedpipe.models.tokenizer_file import load_tokenizer

from tests.real_model import the_real_model

REFERENCE = Path(__file__).resolve().parents[2] / "data" / "minilm_reference.json"
LEAST_COSINE = 0.9999

Floats = npt.NDArray[np.float64]


@cache
def the_embedder() -> OnnxEmbedder:
    return OnnxEmbedder(the_real_model(), provider="cpu")


@cache
def the_reference() -> tuple[list[list[int]], Floats]:
    """Give ids, cut as sentence-transformers cuts them, and its vectors."""
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    limit = reference["max_tokens"]
    texts = [row["text"] for row in reference["rows"]]
    ids = HuggingFaceTokenizer.load(the_real_model()).encode(texts)
    cut = [one if len(one) <= limit else [*one[: limit - 1], one[-1]] for one in ids]
    return cut, np.array([row["vector"] for row in reference["rows"]], dtype=np.float64)


def smallest_cosine(vectors: npt.ArrayLike, expected: Floats) -> float:
    ours = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((ours * expected).sum(axis=1) / lengths).min())


def test_the_reference_has_texts_longer_than_the_model_takes() -> None:
    ids, _ = the_reference()

    assert max(map(len, ids)) == the_embedder().model.max_tokens


def test_each_text_alone_has_the_vector_of_sentence_transformers() -> None:
    ids, expected = the_reference()

    vectors = [the_embedder().embed([one])[0] for one in ids]

    assert smallest_cosine(vectors, expected) >= LEAST_COSINE


def test_any_batch_gives_the_same_vectors() -> None:
    ids, expected = the_reference()
    order = list(range(len(ids)))
    shuffle = random.Random(11)

    for size in (2, 5, len(ids)):
        shuffle.shuffle(order)
        for begin in range(0, len(order), size):
            batch = order[begin : begin + size]
            vectors = the_embedder().embed([ids[i] for i in batch])

            assert smallest_cosine(vectors, expected[batch]) >= LEAST_COSINE


def test_a_long_neighbour_and_its_padding_change_nothing() -> None:
    ids, expected = the_reference()
    longest = max(ids, key=len)

    for one, vector in zip(ids, expected, strict=True):
        ours, _ = the_embedder().embed([one, longest])

        assert smallest_cosine([ours], vector[np.newaxis]) >= LEAST_COSINE


def test_planned_batches_give_the_same_vectors() -> None:
    ids, expected = the_reference()

    for batch in plan_batches([len(one) for one in ids], max_tokens=512, overhead_tokens=32):
        vectors = the_embedder().embed([ids[i] for i in batch])

        assert smallest_cosine(vectors, expected[batch]) >= LEAST_COSINE


def test_a_long_text_in_pieces_has_the_tokens_of_the_whole() -> None:
    rows = json.loads(REFERENCE.read_text(encoding="utf-8"))["rows"]
    texts = [row["text"] for row in rows] * 10
    random.Random(3).shuffle(texts)
    long_text = "".join(texts)
    tokenizer = load_tokenizer(the_real_model().file(TOKENIZER))
    whole = tokenizer.encode(long_text, add_special_tokens=False)

    in_pieces = HuggingFaceTokenizer.load(the_real_model()).offsets(long_text)

    assert len(long_text) > 2 * PIECE_CHARACTERS
    assert in_pieces.ids == whole.ids
    assert in_pieces.offsets == whole.offsets
