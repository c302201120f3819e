from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from embedpipe.adapters.memory import FakeTokenizer
from embedpipe.adapters.memory.models import fake_model
from embedpipe.domain.tokens import TokenBlock, pack
from embedpipe.errors import (
    BadVectorError,
    MalformedMessageError,
    ModelMismatchError,
    PoisonChunkError,
    TransientError,
)
from embedpipe.messages import EmbedRequested
from embedpipe.stages.embed import answer, embed_each, encode_document, encode_query, token_ids

MODEL = fake_model(max_tokens=8)
POISON = 666


class PanicException(BaseException):
    """What a Rust extension raises."""


def a_message(**overrides: Any) -> EmbedRequested:
    fields: dict[str, Any] = {
        "tenant_id": "acme",
        "job_id": "00000000-0000-4000-8000-000000000001",
        "epoch": 3,
        "collection": "default",
        "document_id": "doc",
        "document_version": 2,
        "batch_no": 1,
        "chunk_from": 64,
        "chunk_count": 2,
        "model_id": MODEL.model_id,
        "fingerprint": MODEL.fingerprint,
        "tokens": pack([[1, 50, 2], [1, 60, 61, 2]]),
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }
    return EmbedRequested(**(fields | overrides))


class Model:
    """Gives each input the vector [its first id, 1]; raises on a poison id."""

    def __init__(self, error: Callable[[], BaseException] = RuntimeError) -> None:
        self.runs: list[list[list[int]]] = []
        self.error = error

    def __call__(self, inputs: Sequence[Sequence[int]]) -> Any:
        self.runs.append([list(ids) for ids in inputs])
        if any(POISON in ids for ids in inputs):
            raise self.error()
        return np.array([[ids[0], 1] for ids in inputs], dtype=np.float32)


def some_inputs(count: int, poison: Sequence[int] = ()) -> list[list[int]]:
    return [[at + 1, POISON if at in poison else 5] for at in range(count)]


def test_token_ids_are_those_that_were_packed() -> None:
    assert token_ids(a_message(), MODEL) == [[1, 50, 2], [1, 60, 61, 2]]


def test_a_message_of_another_model_is_refused() -> None:
    with pytest.raises(ModelMismatchError):
        token_ids(a_message(fingerprint="f" * 64), MODEL)


@pytest.mark.parametrize(
    "tokens",
    [
        pack([[1, 2], [1, *range(10, 20), 2]]),
        TokenBlock(dtype="uint16", lengths=[2, 3], data="not base64"),
        TokenBlock(dtype="uint16", lengths=[2, 3], data=pack([[1, 2]]).data),
    ],
    ids=["longer than the model takes", "damaged", "too short"],
)
def test_a_bad_token_block_is_malformed(tokens: TokenBlock) -> None:
    with pytest.raises(MalformedMessageError):
        token_ids(a_message(tokens=tokens), MODEL)


def test_a_good_batch_takes_one_run() -> None:
    model = Model()

    results = embed_each(some_inputs(8), run=model)

    assert len(model.runs) == 1
    assert [float(vector[0]) for vector in results if not isinstance(vector, Exception)] == [
        *range(1, 9)
    ]


@pytest.mark.parametrize("poison", [[0], [31], [17], [3, 4], [0, 31], [1, 9, 22]])
def test_exactly_the_poison_inputs_fail_in_few_runs(poison: list[int]) -> None:
    model, count = Model(), 32

    results = embed_each(some_inputs(count, poison), run=model)

    failed = [at for at, result in enumerate(results) if isinstance(result, PoisonChunkError)]
    assert failed == poison
    assert len(model.runs) <= len(poison) * (2 * math.log2(count) + 1)


def test_a_rust_panic_is_a_poison_input() -> None:
    results = embed_each(some_inputs(2, [1]), run=Model(error=PanicException))

    assert isinstance(results[1], PoisonChunkError)
    assert not isinstance(results[0], Exception)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_end_of_the_process_is_not_swallowed(error: type[BaseException]) -> None:
    with pytest.raises(error):
        embed_each(some_inputs(2, [1]), run=Model(error=error))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("Failed to allocate memory for requested buffer of size 1"),
        RuntimeError("CUDA failure 2: out of memory"),
    ],
)
def test_missing_memory_makes_batches_smaller_and_fails_nothing(error: Exception) -> None:
    shrunk: list[None] = []

    def run(inputs: Sequence[Sequence[int]]) -> Any:
        if len(inputs) > 2:
            raise error
        return np.ones((len(inputs), 2), dtype=np.float32)

    results = embed_each(some_inputs(8), run=run, on_memory_error=lambda: shrunk.append(None))

    assert not [result for result in results if isinstance(result, Exception)]
    assert len(shrunk) == 3


def test_one_input_that_does_not_fit_into_memory_is_transient() -> None:
    [result] = embed_each(some_inputs(1, [0]), run=Model(error=MemoryError))

    assert isinstance(result, TransientError)
    assert result.code == "OUT_OF_MEMORY"


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_a_vector_that_is_not_finite_or_has_no_length_fails_alone(bad: float) -> None:
    def run(inputs: Sequence[Sequence[int]]) -> Any:
        return np.array([[1, 1], [bad, 0], [1, 0]], dtype=np.float32)

    good, wrong, also_good = embed_each(some_inputs(3), run=run)

    assert isinstance(wrong, BadVectorError)
    assert not isinstance(good, Exception)
    assert not isinstance(also_good, Exception)


def test_the_answer_carries_the_fence_and_the_vectors() -> None:
    message = a_message()

    sent = answer(message, np.array([[1, 0], [0.5, -1]], dtype=np.float32))

    assert sent.batch == message.batch
    assert (sent.chunk_from, sent.chunk_count, sent.dimensions) == (64, 2, 2)
    assert (sent.fingerprint, sent.operation_id) == (message.fingerprint, message.operation_id)
    assert sent.traceparent == message.traceparent
    assert array("f", base64.b64decode(sent.vectors)).tolist() == [1, 0, 0.5, -1]


def test_a_long_query_is_cut_and_keeps_its_special_tokens() -> None:
    tokenizer = FakeTokenizer(MODEL)
    words = "a b c d e f g h i j"

    ids = encode_query(words, tokenizer)

    [whole] = tokenizer.encode([words])
    assert ids == [*whole[:7], whole[-1]]


def test_a_short_query_is_whole() -> None:
    assert encode_query("a b", FakeTokenizer(MODEL)) == FakeTokenizer(MODEL).encode(["a b"])[0]


def test_a_document_is_never_cut() -> None:
    assert len(encode_document("a b c d e f g h i j", FakeTokenizer(MODEL))) == 12
