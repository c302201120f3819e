"""Cut a document into chunks that a model takes whole."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from embedpipe.domain.headings import HeadingPath, Outline
from embedpipe.domain.jobs import Chunking
from embedpipe.domain.windows import (
    CHARS_PER_TOKEN,
    OffsetTokenizer,
    Reach,
    TokenStarts,
    Window,
    Windows,
)
from embedpipe.errors import PermanentError

#: Windows that are tokenized in one call, at most.
_MOST_AT_ONCE = 128


class ModelLimits(Protocol):
    """What bounds a chunk."""

    @property
    def max_tokens(self) -> int:
        """Longest input, special tokens included."""
        ...

    @property
    def document_prefix(self) -> str:
        """What is put before every chunk for the model."""
        ...


class ModelTokenizer(OffsetTokenizer, Protocol):
    """The part of `ports.Tokenizer` that chunking needs."""

    @property
    def model(self) -> ModelLimits:
        """The model it belongs to."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Give the ids the model takes, special tokens included."""
        ...


@dataclass(frozen=True)
class Piece:
    """One chunk: `text` is source[start:end], in code points.

    Attributes
    ----------
    token_ids
        What the model takes: the document prefix and special tokens included.
    heading_path
        Titles of the Markdown headings in force at `start`, outermost first.
    """

    index: int
    start: int
    end: int
    text: str
    token_ids: Sequence[int]
    heading_path: tuple[str, ...]


def split(
    text: str,
    *,
    tokenizer: ModelTokenizer,
    chunking: Chunking,
    content_type: str,
    max_chunks: int | None = None,
) -> list[Piece]:
    """Cut a document into chunks.

    Every character that is not whitespace is in at least one chunk. What the model is given of a
    chunk is tokenized from the chunk itself and never longer than `chunking.size` (unit tokens)
    or the model's longest input (either unit); neighbours never share more than
    `chunking.overlap`, nor more than half of a chunk. A text of whitespace alone is one chunk, its
    first character.

    Raises
    ------
    PermanentError
        UNCHUNKABLE: the text is empty, or a chunk cannot hold a single character of it.
        TOO_MANY_CHUNKS: there would be more than `max_chunks`.
    """
    if not text:
        raise PermanentError("the document is empty", code="UNCHUNKABLE")
    is_markdown = content_type.partition(";")[0].strip().lower() == "text/markdown"
    outline = Outline(text if is_markdown else "")
    path = HeadingPath(outline)
    cutter = _Cutter(text, tokenizer, chunking, outline)
    pieces: list[Piece] = []
    for index, (start, end, token_ids) in enumerate(cutter.chunks()):
        if index == max_chunks:
            raise PermanentError(
                f"the document has more than {max_chunks} chunks", code="TOO_MANY_CHUNKS"
            )
        pieces.append(Piece(index, start, end, text[start:end], token_ids, path.at(start)))
    return pieces


class _Cutter:
    """Plans windows ahead, tokenizes them together, and plans again from the first misfit."""

    def __init__(
        self, text: str, tokenizer: ModelTokenizer, chunking: Chunking, outline: Outline
    ) -> None:
        model = tokenizer.model
        self._text = text
        self._tokenizer = tokenizer
        self._prefix = model.document_prefix
        in_tokens = chunking.unit == "tokens"
        self._max_tokens = min(chunking.size, model.max_tokens) if in_tokens else model.max_tokens
        empty, prefix = (len(ids) for ids in tokenizer.encode(["", self._prefix]))
        self._special_tokens = empty
        self._room = self._max_tokens - prefix
        if self._room < 1 or chunking.size < 1:
            raise PermanentError("chunks of this size hold no text", code="UNCHUNKABLE")
        self._overlap_tokens = chunking.overlap if in_tokens else None
        reach = Reach(
            tokens=self._room,
            chars=chunking.size * CHARS_PER_TOKEN if in_tokens else chunking.size,
            overlap_tokens=self._overlap_tokens,
            overlap_chars=None if in_tokens else chunking.overlap,
        )
        self._windows = Windows(text, TokenStarts(text, tokenizer), outline, reach)

    def chunks(self) -> Iterator[tuple[int, int, array[int]]]:
        """Give start, end and token ids of every chunk, in order."""
        window = self._windows.first()
        if window is None:
            yield 0, 1, array("I", self._tokenizer.encode([self._prefix + self._text[0]])[0])
            return
        at_once = _MOST_AT_ONCE
        while window is not None:
            last = window
            for planned, token_ids in self._tokenized(self._ahead(window, at_once)):
                last, fitted = self._fitted(planned, token_ids)
                yield last.start, last.end, array("I", fitted)
                if last is not planned:
                    # What was planned after it no longer follows. Misfits come in swarms.
                    at_once = 1
                    break
            else:
                at_once = min(2 * at_once, _MOST_AT_ONCE)
            window = self._windows.after(last)

    def _ahead(self, window: Window, count: int) -> list[Window]:
        ahead: list[Window] = [window]
        while len(ahead) < count and (following := self._windows.after(ahead[-1])) is not None:
            ahead.append(following)
        return ahead

    def _tokenized(self, windows: list[Window]) -> list[tuple[Window, list[int]]]:
        texts = [self._prefix + self._text[window.start : window.end] for window in windows]
        return list(zip(windows, self._tokenizer.encode(texts), strict=True))

    def _fitted(self, window: Window, token_ids: list[int]) -> tuple[Window, list[int]]:
        """Give the window, or the first of its narrower ones, that the model and overlap allow."""
        if self._shares_too_much(window):
            window = self._windows.alone(window)
            token_ids = self._tokenized([window])[0][1]
        while len(token_ids) > self._max_tokens:
            if window.end - window.start <= 1:
                raise PermanentError("a character is longer than a chunk", code="UNCHUNKABLE")
            window = self._windows.narrower(window, self._narrower_limit(window, len(token_ids)))
            token_ids = self._tokenized([window])[0][1]
        return window, token_ids

    def _narrower_limit(self, window: Window, tokens: int) -> int:
        """Guess where the window must end: by its own tokens, and in proportion."""
        own = TokenStarts(self._text[window.start : window.end], self._tokenizer)
        chars = (window.end - window.start) * self._max_tokens // tokens
        return window.start + min(own.after(0, self._room), chars)

    def _shares_too_much(self, window: Window) -> bool:
        if self._overlap_tokens is None or window.shared_end <= window.start:
            return False
        shared = self._text[window.start : window.shared_end]
        [ids] = self._tokenizer.encode([shared])
        return len(ids) - self._special_tokens > self._overlap_tokens
