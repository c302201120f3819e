from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from embedpipe.adapters.memory import FakeTokenizer
from embedpipe.adapters.memory.models import fake_model
from embedpipe.domain.inputs import GROUP_CHARACTERS, LONG_CHARACTERS, join, pieces
from embedpipe.errors import PermanentError

MODEL = fake_model(max_tokens=8)


class Watched(FakeTokenizer):
    """Remembers how many characters it was given at once."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.given: list[int] = []

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        self.given.append(sum(map(len, texts)))
        return super().encode(texts)


def test_each_input_is_a_chunk_and_lies_in_the_texts_one_after_the_other() -> None:
    texts = ["one two", " ", 'ümläut "quoted"\n', "one two", "🦆"]

    found = pieces(join(texts), tokenizer=FakeTokenizer(MODEL))

    source = "".join(texts)
    assert [piece.text for piece in found] == texts
    assert [source[piece.start : piece.end] for piece in found] == texts
    assert [piece.index for piece in found] == [0, 1, 2, 3, 4]
    assert [piece.token_ids for piece in found] == FakeTokenizer(MODEL).encode(texts)


def test_the_document_prefix_is_added() -> None:
    tokenizer = FakeTokenizer(replace(MODEL, document_prefix="passage "))

    [piece] = pieces(join(["one"]), tokenizer=tokenizer)

    assert [piece.token_ids] == tokenizer.encode(["passage one"])
    assert piece.text == "one"


def test_inputs_that_the_model_does_not_take_whole_are_named() -> None:
    texts = ["word " * 6, "word " * 7, "fine", "word " * LONG_CHARACTERS]

    with pytest.raises(PermanentError, match="2 of 4 inputs have more than 8 tokens: 1, 3") as e:
        pieces(join(texts), tokenizer=FakeTokenizer(MODEL))

    assert e.value.code == "INPUT_TOO_LONG"


def test_of_many_only_the_first_are_named() -> None:
    with pytest.raises(PermanentError) as raised:
        pieces(join(["word " * 9] * 500), tokenizer=FakeTokenizer(MODEL))

    assert raised.value.message.endswith(": " + ", ".join(map(str, range(20))) + ", …")


def test_where_lengths_are_only_bounded_nothing_is_too_long() -> None:
    texts = ["word " * 20]

    [piece] = pieces(join(texts), tokenizer=FakeTokenizer(MODEL), checks_length=False)

    assert piece.text == texts[0]


def test_little_is_tokenized_at_once_and_what_is_far_too_long_never() -> None:
    tokenizer = Watched()
    texts = ["x" * 30_000] * 20 + [" " * 200_000 + "one", "y" * 100] + ["word " * 100_000]

    with pytest.raises(PermanentError, match=r"1 of 23 inputs .*: 22"):
        pieces(join(texts), tokenizer=tokenizer)

    assert max(given for given in tokenizer.given if given < 200_000) <= GROUP_CHARACTERS
    assert max(tokenizer.given) == 200_003


def test_a_long_input_beside_short_ones_is_not_tokenized_with_them() -> None:
    tokenizer = Watched()

    with pytest.raises(PermanentError, match="1 of 3 inputs"):
        pieces(join(["one", "word " * 10_000, "two"]), tokenizer=tokenizer)

    assert max(tokenizer.given) < 100


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "[1]", '["", "x"]', '"x"', "null"])
def test_what_is_no_list_of_texts_cannot_be_cut(content: str) -> None:
    with pytest.raises(PermanentError) as raised:
        pieces(content, tokenizer=FakeTokenizer(MODEL))

    assert raised.value.code == "UNCHUNKABLE"


def test_too_many_inputs_are_too_many_chunks() -> None:
    with pytest.raises(PermanentError) as raised:
        pieces(join(["x"] * 3), tokenizer=FakeTokenizer(MODEL), max_chunks=2)

    assert raised.value.code == "TOO_MANY_CHUNKS"
