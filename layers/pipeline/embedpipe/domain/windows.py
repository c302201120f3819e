"""Windows over a text: how far each may reach, where it ends, where the next begins."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Protocol

from embedpipe.domain.boundaries import (
    Level,
    choose,
    end_of_visible,
    next_visible,
    next_word,
)
from embedpipe.domain.graphemes import is_between_graphemes
from embedpipe.domain.headings import Outline

#: A token can be a word of any length; a window is never longer than this many times its size.
CHARS_PER_TOKEN = 16
#: The share of the furthest reach that a window fills at least, if the text goes on. Smaller: cuts
#: find back sooner after a change; larger: fewer chunks. Most windows fill far more.
_LEAST_FILL = 0.4
#: Text is tokenized in parts of this size, so that the offsets of few tokens exist at a time.
_PART_CHARS = 32_768
_PART_TAIL_CHARS = 1_024


class Offsets(Protocol):
    """Where tokens lie."""

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Start and end of each token."""
        ...


class OffsetTokenizer(Protocol):
    """What tells where tokens lie."""

    def offsets(self, text: str) -> Offsets:
        """Tokenize without special tokens."""
        ...


class TokenStarts:
    """Where each token of a text starts: four bytes a token."""

    def __init__(self, text: str, tokenizer: OffsetTokenizer) -> None:
        self._length = len(text)
        self._starts = array("I")
        begin = 0
        while begin < len(text):
            end = _part_end(text, begin)
            part = text[begin:end]
            for start, stop in tokenizer.offsets(part).offsets:
                # Some tokenizers count the blank before a word to it.
                while start < stop and part[start].isspace():
                    start += 1
                self._starts.append(begin + start)
            begin = end

    def after(self, position: int, count: int) -> int:
        """Give the start of the first token that does not fit when `count` fit from here."""
        index = bisect_left(self._starts, position) + count
        return self._starts[index] if index < len(self._starts) else self._length

    def before(self, position: int, count: int) -> int:
        """Give the furthest position back from where at most `count` tokens start before here."""
        index = max(bisect_left(self._starts, position) - count, 0)
        if index and index < len(self._starts) and self._starts[index - 1] == self._starts[index]:
            index = bisect_right(self._starts, self._starts[index])
        return min(self._starts[index], position) if index < len(self._starts) else position

    def between(self, low: int, high: int) -> array[int]:
        """Give the starts in [low, high]."""
        return self._starts[bisect_left(self._starts, low) : bisect_right(self._starts, high)]


@dataclass(frozen=True)
class Reach:
    """How much a window may hold, and share with the one before it.

    Attributes
    ----------
    tokens
        Without special tokens and prefix.
    overlap_tokens, overlap_chars
        One of them is the limit, the other None.
    """

    tokens: int
    chars: int
    overlap_tokens: int | None = None
    overlap_chars: int | None = None


@dataclass(frozen=True)
class Window:
    """A part of the text without blanks at its ends.

    Attributes
    ----------
    fresh
        Where the text begins that no window before has.
    shared_end
        Where the window before ends, `start` or less if nothing is shared.
    following
        Where the next window starts; the length of the text after the last.
    following_fresh
        The `fresh` of the next window.
    """

    start: int
    end: int
    fresh: int
    shared_end: int
    following: int
    following_fresh: int


class Windows:
    """Cuts one text into windows, from the start to the end."""

    def __init__(self, text: str, starts: TokenStarts, outline: Outline, reach: Reach) -> None:
        self._text = text
        self._starts = starts
        self._outline = outline
        self._reach = reach
        self._end = end_of_visible(text, 0, len(text))

    def first(self) -> Window | None:
        """Give the first window; None when there is nothing but whitespace."""
        start = next_visible(self._text, 0)
        return self._window(start, start, start) if start < self._end else None

    def after(self, window: Window) -> Window | None:
        """Give the window that follows; None after the last."""
        if window.following >= self._end:
            return None
        return self._window(window.following, window.following_fresh, window.end)

    def alone(self, window: Window) -> Window:
        """Give the window anew, sharing nothing with the one before."""
        return self._window(window.fresh, window.fresh, window.shared_end)

    def narrower(self, window: Window, limit: int) -> Window:
        """Give the window anew, ending at `limit` or earlier, still with something fresh."""
        if limit <= window.fresh:
            if window.start < window.fresh:
                return self.alone(window)
            limit = window.start + 1
        return self._window(window.start, window.fresh, window.shared_end, limit)

    def _window(self, start: int, fresh: int, shared_end: int, limit: int | None = None) -> Window:
        furthest = limit or self._furthest(start)
        if furthest <= fresh:
            start, furthest = fresh, self._furthest(fresh)
        if furthest >= self._end:
            length = len(self._text)
            return Window(start, self._end, fresh, shared_end, length, length)
        low = max(start + int(_LEAST_FILL * (furthest - start)), fresh + 1)
        tokens = self._starts.between(low, furthest)
        cut = choose(self._text, low, furthest, self._outline, tokens)
        end = end_of_visible(self._text, start, cut.position)
        following_fresh = next_visible(self._text, cut.position)
        following = following_fresh
        # A section begins with its heading. And half a word shared would be read as another word.
        if cut.level in (Level.PARAGRAPH, Level.SENTENCE, Level.WORD):
            following = self._shared_from(start, end, following_fresh)
        return Window(start, end, fresh, shared_end, following, following_fresh)

    def _furthest(self, start: int) -> int:
        reach = min(self._starts.after(start, self._reach.tokens), start + self._reach.chars)
        return max(reach, start + 1)

    def _shared_from(self, start: int, end: int, fresh: int) -> int:
        if self._reach.overlap_chars is not None:
            earliest = end - self._reach.overlap_chars
        else:
            earliest = self._starts.before(end, self._reach.overlap_tokens or 0)
        # Never more than half, else a large overlap would multiply the text.
        earliest = max(earliest, start + (end - start + 1) // 2)
        word = next_word(self._text, earliest, end)
        if word is not None and self._outline.in_heading(word):
            word = next_word(self._text, self._outline.end_of_heading(word), end)
        return fresh if word is None or not is_between_graphemes(self._text, word) else word


def _part_end(text: str, begin: int) -> int:
    """Give where a part to tokenize ends: at whitespace, if there is some near."""
    end = min(begin + _PART_CHARS, len(text))
    if end < len(text):
        for position in range(end, end - _PART_TAIL_CHARS, -1):
            if text[position].isspace():
                return position
    return end
