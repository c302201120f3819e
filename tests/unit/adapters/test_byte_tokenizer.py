from __future__ import annotations

import pytest
from embedpipe.adapters.byte_tokenizer import ByteTokenizer
from embedpipe.domain.chunking import split
from embedpipe.domain.jobs import Chunking
from embedpipe.errors import PoisonChunkError
from embedpipe.models.catalogue_entries import RemoteEntry
from hypothesis import given
from hypothesis import strategies as st

ENTRY = RemoteEntry(
    provider="openai",
    model_name_or_path="new",
    dimensions=8,
    max_tokens=40,
    document_prefix="d: ",
)
TEXT = st.text(st.sampled_from("ab \n.é中😀"), min_size=1, max_size=200)


def a_tokenizer() -> ByteTokenizer:
    return ByteTokenizer(ENTRY.info("m"))


@given(TEXT)
def test_there_is_a_token_for_each_byte_at_the_place_of_its_character(text: str) -> None:
    encoding = a_tokenizer().offsets(text)

    assert bytes(encoding.ids) == text.encode()
    assert [text[start:end].encode()[:1] for start, end in encoding.offsets] == [
        character.encode()[:1] for character in text for _ in character.encode()
    ]


def test_encode_counts_special_tokens_and_all_ids_are_in_the_vocabulary() -> None:
    tokenizer = a_tokenizer()

    [empty, one] = tokenizer.encode(["", "é"])

    assert len(empty) == tokenizer.model.special_tokens
    assert len(one) == len(empty) + 2
    assert max(one) < tokenizer.vocabulary_size


@given(TEXT, st.integers(8, 60))
def test_no_chunk_is_longer_than_the_model_takes(text: str, size: int) -> None:
    pieces = split(
        text,
        tokenizer=a_tokenizer(),
        chunking=Chunking(size=size, overlap=size // 4, unit="chars"),
        content_type="text/plain",
    )

    assert all(len(f"d: {piece.text}".encode()) + 2 <= 40 for piece in pieces)


def test_a_text_that_is_not_unicode_is_poison() -> None:
    with pytest.raises(PoisonChunkError):
        a_tokenizer().encode(["\ud800"])
    with pytest.raises(PoisonChunkError):
        a_tokenizer().offsets("\ud800")
