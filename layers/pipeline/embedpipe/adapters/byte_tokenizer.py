"""Lengths of texts whose tokenizer only the provider has."""

from __future__ import annotations

from collections.abc import Sequence

from embedpipe.errors import PoisonChunkError
from embedpipe.ports.models import Encoding, ModelInfo

_SPECIAL = 256


class ByteTokenizer:
    """One token for each byte of UTF-8: what no tokenizer over bytes exceeds.

    A text that fits by this count fits the model. Its ids are bytes, of no use to any model.

    Notes
    -----
    Tokenizers that normalise first can turn one rare character into many (U+FDFA, three bytes,
    becomes eighteen letters under NFKC). A provider that is asked not to cut refuses such a text.
    """

    def __init__(self, model: ModelInfo) -> None:
        self._model = model

    @property
    def model(self) -> ModelInfo:
        """The model that it bounds the inputs of."""
        return self._model

    @property
    def vocabulary_size(self) -> int:
        """All ids are below it."""
        return _SPECIAL + 1

    def offsets(self, text: str) -> Encoding:
        """Give the bytes, each with the place of its character."""
        data = _bytes(text)
        if len(data) == len(text):
            return Encoding(list(data), [(at, at + 1) for at in range(len(text))])
        offsets = [
            place
            for at, character in enumerate(text)
            for place in [(at, at + 1)] * len(character.encode())
        ]
        return Encoding(list(data), offsets)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give the bytes, and as many special ids as the model is said to add."""
        special = [_SPECIAL] * self._model.special_tokens
        return [[*_bytes(text), *special] for text in texts]


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise PoisonChunkError("the text has lone surrogates") from None
