from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean

import pytest
from embedpipe.adapters.memory import FakeTokenizer
from embedpipe.domain.chunking import ModelTokenizer, Piece, split
from embedpipe.domain.jobs import Chunking
from embedpipe.errors import PermanentError
from embedpipe.ports import Encoding, ModelInfo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FAKE = FakeTokenizer()
MODEL = FAKE.model


class ByteTokenizer:
    """Every byte of UTF-8 a token: a character may be four."""

    def __init__(self, model: ModelInfo = MODEL) -> None:
        self.model = model

    def offsets(self, text: str) -> Encoding:
        spans = [
            (at, at + 1) for at, char in enumerate(text) for _ in char.encode("utf-8", "replace")
        ]
        return Encoding(ids=[10] * len(spans), offsets=spans)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[1, *self.offsets(text).ids, 2] for text in texts]


class MoodyTokenizer(FakeTokenizer):
    """Gives more tokens for a slice than for the same words in a long text."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = super().encode(texts)
        return [[*ids[:-1], *[9] * (len(ids) % 7 if len(ids) > 3 else 0), 2] for ids in encoded]


class BlindTokenizer(FakeTokenizer):
    """Takes a word of more than 20 characters for one token, a shorter one for one a character."""

    def offsets(self, text: str) -> Encoding:
        spans: list[tuple[int, int]] = []
        for start, end in super().offsets(text).offsets:
            is_long = end - start > 20
            spans += [(start, end)] if is_long else [(at, at + 1) for at in range(start, end)]
        return Encoding(ids=[11] * len(spans), offsets=spans)


class DeafTokenizer(FakeTokenizer):
    """Knows no token."""

    def offsets(self, text: str) -> Encoding:
        return Encoding(ids=[], offsets=[])


TOKENIZERS: list[ModelTokenizer] = [
    FAKE,
    ByteTokenizer(),
    MoodyTokenizer(),
    BlindTokenizer(),
    DeafTokenizer(),
]

FRAGMENTS = st.sampled_from(
    [
        *("word ", "Another one. ", "\n", "\n\n", "\r\n", "# Title\n", "```\n", "- item\n"),
        *(
            "日本語。",
            "中文字符",
            "שלום ",
            "é",
            "e\u0301",
            "👩\u200d👧",
            "🇩🇪",
            "👍🏽",
            "\x00",
            "\x1b",
        ),
        *("\u200b", "\u3000", " ", "\t", "...", "x.y", "!?", '"quoted." ', "1,2;3", "\ufeff"),
        *("a" * 30, "|a|b|\n"),
    ]
)
TEXTS = st.lists(FRAGMENTS, min_size=1, max_size=120).map("".join) | st.text(min_size=1)


@st.composite
def chunkings(draw: st.DrawFn) -> Chunking:
    size = draw(st.integers(8, 300))
    overlap = draw(st.integers(0, size - 1))
    return Chunking(size, overlap, draw(st.sampled_from(["tokens", "chars"])))


def a_split(
    text: str,
    size: int = 256,
    overlap: int = 32,
    unit: str = "tokens",
    *,
    tokenizer: ModelTokenizer = FAKE,
    content_type: str = "text/plain",
) -> list[Piece]:
    chunking = Chunking(size, overlap, unit)
    return split(text, tokenizer=tokenizer, chunking=chunking, content_type=content_type)


def texts(pieces: Sequence[Piece]) -> list[str]:
    return [piece.text for piece in pieces]


def assert_sound(
    text: str, pieces: list[Piece], chunking: Chunking, tokenizer: ModelTokenizer
) -> None:
    in_tokens = chunking.unit == "tokens"
    most = min(chunking.size, 256) if in_tokens else 256
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    for piece in pieces:
        assert 0 <= piece.start < piece.end <= len(text)
        assert piece.text == text[piece.start : piece.end]
        assert [list(piece.token_ids)] == tokenizer.encode([piece.text])
        assert len(piece.token_ids) <= most
        assert len(piece.text) <= chunking.size * (16 if in_tokens else 1)
    assert not text[: pieces[0].start].strip()
    assert not text[pieces[-1].end :].strip() or not text.strip()
    for before, after in pairwise(pieces):
        assert before.start < after.start
        assert before.end < after.end
        assert not text[before.end : after.start].strip()
        shared = text[after.start : before.end]
        if shared:
            length = len(tokenizer.encode([shared])[0]) - 2 if in_tokens else len(shared)
            assert length <= chunking.overlap


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, chunkings(), st.sampled_from(TOKENIZERS), st.sampled_from(["plain", "markdown"]))
def test_chunks_fit_cover_the_text_and_overlap_no_more_than_asked(
    text: str, chunking: Chunking, tokenizer: ModelTokenizer, kind: str
) -> None:
    pieces = split(text, tokenizer=tokenizer, chunking=chunking, content_type=f"text/{kind}")

    assert_sound(text, pieces, chunking, tokenizer)


@settings(max_examples=50, deadline=None)
@given(TEXTS, chunkings())
def test_the_same_text_is_cut_the_same_way(text: str, chunking: Chunking) -> None:
    first = split(text, tokenizer=FAKE, chunking=chunking, content_type="text/markdown")
    second = split(text, tokenizer=FAKE, chunking=chunking, content_type="text/markdown")

    assert first == second


def test_a_short_text_is_one_chunk_without_the_blanks_around_it() -> None:
    [piece] = a_split("\n  Hello there.\n\n")

    assert (piece.start, piece.end, piece.text) == (3, 15, "Hello there.")
    assert list(piece.token_ids) == FAKE.encode(["Hello there."])[0]


def test_paragraphs_stay_whole_where_they_can() -> None:
    text = "One two three four five.\n\nSix seven eight nine ten.\n\nEleven twelve."

    pieces = a_split(text, 10, 0)

    assert texts(pieces) == text.split("\n\n")


def test_sentences_stay_whole_where_they_can() -> None:
    text = "One two three four five. Six seven eight nine ten. Eleven twelve."

    pieces = a_split(text, 10, 0)

    assert texts(pieces) == [
        "One two three four five.",
        "Six seven eight nine ten.",
        "Eleven twelve.",
    ]


def test_an_overlap_begins_at_a_word() -> None:
    text = "One two three four five. Six seven eight nine ten. Eleven twelve."

    pieces = a_split(text, 11, 3)

    assert texts(pieces)[1].startswith("four five. Six")


def test_a_section_begins_with_its_heading_and_shares_nothing() -> None:
    text = "# One\n\nSome words of the first section.\n\n# Two\n\nSome words of the second section."

    pieces = a_split(text, 13, 4, content_type="text/markdown; charset=utf-8")

    assert [(piece.text.split("\n")[0], piece.heading_path) for piece in pieces] == [
        ("# One", ("One",)),
        ("# Two", ("Two",)),
    ]


def test_plain_text_has_no_headings() -> None:
    assert a_split("# One\n\ntext")[0].heading_path == ()


def test_a_chunk_has_the_path_that_is_in_force_where_it_starts() -> None:
    text = "# Guide\n\n## Setup\n\n" + "Some words here. " * 20

    pieces = a_split(text, 30, 5, content_type="text/markdown")

    assert pieces[0].heading_path == ("Guide",)
    assert {piece.heading_path for piece in pieces[1:]} == {("Guide", "Setup")}


def test_the_document_prefix_is_encoded_and_counted_but_not_stored() -> None:
    tokenizer = FakeTokenizer(replace(MODEL, document_prefix="passage: "))

    pieces = a_split("word " * 100, 12, 0, tokenizer=tokenizer)

    assert all(len(piece.token_ids) <= 12 for piece in pieces)
    assert {piece.text.split()[0] for piece in pieces} == {"word"}
    assert list(pieces[0].token_ids) == FAKE.encode(["passage: " + pieces[0].text])[0]


def test_a_chunk_is_never_longer_than_the_model_takes() -> None:
    pieces = a_split("word " * 3000, 100_000, 0)

    assert max(len(piece.token_ids) for piece in pieces) <= MODEL.max_tokens
    assert len(pieces) > 10


def test_windows_of_characters_are_cut_further_when_the_model_takes_fewer_tokens() -> None:
    pieces = a_split("a b c d " * 500, 2000, 100, "chars")

    assert max(len(piece.token_ids) for piece in pieces) <= MODEL.max_tokens
    assert max(len(piece.text) for piece in pieces) < 2000


def test_a_huge_overlap_does_not_multiply_the_text() -> None:
    text = "some words and more " * 1000

    pieces = a_split(text, 100, 99)

    assert sum(len(piece.text) for piece in pieces) < 4 * len(text)


@pytest.mark.parametrize("text", ["\x00\x01\x02", "\u200b", "\ufeff\u200b", " ", "\n\n \t"])
def test_a_text_that_the_tokenizer_does_not_know_is_one_chunk(text: str) -> None:
    [piece] = a_split(text, tokenizer=DeafTokenizer())

    assert list(piece.token_ids) == [1, 2]


def test_an_empty_text_cannot_be_chunked() -> None:
    with pytest.raises(PermanentError) as caught:
        a_split("")

    assert caught.value.code == "UNCHUNKABLE"


def test_a_size_that_the_special_tokens_fill_cannot_be_chunked() -> None:
    with pytest.raises(PermanentError) as caught:
        a_split("word", 2, 0)

    assert caught.value.code == "UNCHUNKABLE"


def test_a_character_that_no_chunk_holds_cannot_be_chunked() -> None:
    with pytest.raises(PermanentError) as caught:
        a_split("ab😀", 5, 0, tokenizer=ByteTokenizer())

    assert caught.value.code == "UNCHUNKABLE"


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "👩\u200d👧" * 20_000,
        "e" + "\u0301" * 100_000,
        "." * 100_000,
        '."' * 50_000,
        "a" + "\n" * 100_000 + "b",
        "a" + " " * 100_000 + "b",
        "\n- " * 30_000,
        "# \n" * 30_000,
        "```\n" * 25_000,
        "word\n\n\n" * 15_000,
        "漢字かな" * 25_000,
        "שלום עולם " * 10_000,
        "\x01\x02" * 50_000,
        "🇩🇪" * 50_000,
        "one giant line " * 8_000,
        "{" * 100_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_a_hard_text_is_cut_in_linear_time(text: str) -> None:
    start = time.process_time()

    pieces = a_split(text, content_type="text/markdown")

    assert time.process_time() - start < 5
    assert_sound(text, pieces, Chunking(), FAKE)


def test_a_giant_word_becomes_many_chunks() -> None:
    pieces = a_split("a" * 100_000)

    assert len(pieces) > 20


def test_joined_emoji_are_not_torn() -> None:
    pieces = a_split("👩\u200d👧👍🏽🇩🇪" * 50, 40, 0, "chars")

    assert {piece.text[0] for piece in pieces} <= {"👩", "👍", "\U0001f1e9"}


def test_most_chunks_survive_a_sentence_put_in_front() -> None:
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))[:60_000]

    before, after = a_split(text), a_split("This sentence was put in front of it all. " + text)

    known = {hashlib.sha256(piece.text.encode()).digest() for piece in before}
    kept = sum(hashlib.sha256(piece.text.encode()).digest() in known for piece in after)
    assert kept / len(after) >= 0.9
    assert mean(len(piece.token_ids) for piece in before) / 256 >= 0.8
