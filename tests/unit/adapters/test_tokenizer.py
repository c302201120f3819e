from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from embedpipe.adapters import tokenizer as adapter
from embedpipe.adapters.tokenizer import HuggingFaceTokenizer, ModelsDirectory
from embedpipe.errors import ModelFilesError, NotFoundError, PoisonChunkError
from embedpipe.models.directory import GRAPH, TOKENIZER
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_model import MODEL_ID, WORDS, a_tiny_model, the_tiny_model

CHARACTERS = "abcÄé\u0301 \n.,[]-中文字。\uff0c日本\u3099한글😀\u200b\u0007"
TEXT = st.text(st.sampled_from(CHARACTERS), max_size=60)


class PanicException(BaseException):
    """What a panic in a Rust extension looks like from Python."""


class BrokenTokenizer:
    normalizer = None
    pre_tokenizer = None

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def encode(self, text: str, add_special_tokens: bool) -> Any:
        raise self.error

    def encode_batch_fast(self, texts: list[str]) -> Any:
        raise self.error


def a_tokenizer() -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.load(the_tiny_model())


def a_broken_tokenizer(error: BaseException) -> HuggingFaceTokenizer:
    broken: Any = BrokenTokenizer(error)
    return HuggingFaceTokenizer(broken, the_tiny_model().info)


def test_long_texts_are_not_cut_and_short_ones_not_padded_whatever_the_file_says() -> None:
    tokenizer = a_tokenizer()

    ids = tokenizer.encode(["a", "a b c d e f g h"])

    assert [len(one) for one in ids] == [3, 10]


def test_encode_adds_the_special_tokens_and_offsets_does_not() -> None:
    tokenizer = a_tokenizer()

    [ids] = tokenizer.encode(["a queues"])
    encoding = tokenizer.offsets("a queues")

    assert [WORDS[i] for i in ids] == ["[CLS]", "a", "queue", "##s", "[SEP]"]
    assert encoding.ids == ids[1:-1]
    assert encoding.offsets == [(0, 1), (2, 7), (7, 8)]


def test_offsets_count_code_points_not_bytes() -> None:
    encoding = a_tokenizer().offsets("😀é a")

    assert encoding.offsets[-1] == (3, 4)


@given(TEXT)
def test_a_text_in_pieces_gives_what_the_whole_gives(text: str) -> None:
    tokenizer = a_tokenizer()
    whole = tokenizer.offsets(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "PIECE_CHARACTERS", 4)
        in_pieces = tokenizer.offsets(text)

    assert in_pieces == whole


def test_an_unknown_kind_of_tokenizer_is_given_the_whole_text() -> None:
    pieces = list(adapter._pieces("a b " * 20_000, None))

    assert pieces == [(0, 80_000)]


def test_empty_text_has_no_tokens_of_its_own() -> None:
    tokenizer = a_tokenizer()

    assert tokenizer.offsets("").ids == []
    assert [len(ids) for ids in tokenizer.encode([""])] == [2]


@pytest.mark.parametrize("call", ["encode", "offsets"])
def test_a_panic_in_the_library_is_a_permanent_error(call: str) -> None:
    tokenizer = a_broken_tokenizer(PanicException("index out of range in 'secret text'"))

    with pytest.raises(PoisonChunkError) as caught:
        tokenizer.encode(["x"]) if call == "encode" else tokenizer.offsets("x")

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_lone_surrogate_is_a_permanent_error() -> None:
    with pytest.raises(PoisonChunkError, match="surrogates"):
        a_tokenizer().offsets("a \ud800 b")


def test_other_base_exceptions_pass_through() -> None:
    with pytest.raises(KeyboardInterrupt):
        a_broken_tokenizer(KeyboardInterrupt()).offsets("x")


def test_a_model_at_hand_is_given_with_its_tokenizer_loaded_once() -> None:
    models = ModelsDirectory(the_tiny_model().path.parent)

    assert models.get(MODEL_ID) == the_tiny_model().info
    assert models.tokenizer(MODEL_ID) is models.tokenizer(MODEL_ID)
    assert models.tokenizer(MODEL_ID).model == the_tiny_model().info
    assert models.directory(MODEL_ID).path == the_tiny_model().path


@pytest.mark.parametrize("model_id", ["missing", "../tiny", "", "a/b", "."])
def test_a_model_that_is_not_there_is_not_found(model_id: str) -> None:
    models = ModelsDirectory(the_tiny_model().path.parent)

    with pytest.raises(NotFoundError) as caught:
        models.get(model_id)

    assert caught.value.code == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER])
def test_a_tokenizer_is_verified_before_it_is_loaded_and_needs_no_graph(
    tmp_path: Path, name: str
) -> None:
    directory = a_tiny_model(tmp_path)
    (directory.path / name).write_text("{}")
    models = ModelsDirectory(tmp_path)

    if name == TOKENIZER:
        with pytest.raises(ModelFilesError, match="not the pinned file"):
            models.tokenizer(MODEL_ID)
    else:
        assert models.tokenizer(MODEL_ID).encode(["a"])
