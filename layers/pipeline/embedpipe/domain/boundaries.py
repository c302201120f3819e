"""Where a text may be cut: the best kind of boundary in reach, one chosen by its surroundings."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from embedpipe.domain.graphemes import is_between_graphemes
from embedpipe.domain.headings import Outline

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Kana without the signs that must not begin a line.
_KANA = "\u3042\u3044\u3046\u3048\u304a-\u3062\u3064-\u3082\u3084\u3086\u3088-\u308d\u308f-\u3094"
_KANA += "\u30a2\u30a4\u30a6\u30a8\u30aa-\u30c2\u30c4-\u30e2\u30e4\u30e6\u30e8-\u30ed\u30ef-\u30fa"
_CJK = _HAN + _KANA
# After which a line of Chinese or Japanese may end: letters, and marks that close.
_CJK_END = _CJK + "\u3041-\u3096\u30a1-\u30fc\u3001\u3002\u300d\u300f\u3011\uff01\uff09\uff0c\uff1f"
_CLOSERS = "\"'\u201d\u2019\u00bb)\\]\u300d\u300f\u3011\uff09"

_BLANK_LINE = re.compile(r"\n(?=[ \t\r]*\n)|[\f\u2029]")
_BLOCK_LINE = re.compile(r"\n(?=[ \t]{0,12}(?:[-*+][ \t]|\d{1,9}[.)][ \t]|`{3}|~{3}|>))")
_TABLE_OR_CODE_LINE = re.compile(r"\n(?=[^\n])")
# Quantifiers are bounded: a run of dots must not be read again from each of them.
_SENTENCE = re.compile(
    rf"(?:(?<![\s.(][A-Za-z])(?<!\b[DMS]r)(?<!\bMrs)(?<!\bvs)\.(?![{_CLOSERS}]{{0,4}}\s{{1,4}}[a-z])"
    r"|[!?\u2026\u061f\u06d4\u0589\u1362])"
    rf"[{_CLOSERS}]{{0,4}}(?=\s)"
    rf"|[\u3002\uff01\uff1f\uff61\u0964\u0965\u17d4\u104b][{_CLOSERS}]{{0,4}}(?=[^{_CLOSERS}])"
)
_WORD = re.compile(rf"(?<=\S)(?=\s)|(?<=[{_CJK_END}])(?=[{_CJK}])")
_WORD_START = re.compile(rf"(?<!\S)(?=\S)|(?<=[{_CJK_END}])(?=[{_CJK}])")
_PART = re.compile(r"(?<=\W)(?=\w)")
_NON_SPACE = re.compile(r"\S")

#: How much more a boundary counts the further it lies in the part looked at.
_STEEPNESS = 4
#: How far around a cut the text decides which cut is taken.
_BEFORE_CHARS, _AFTER_CHARS = 32, 16
#: Where nothing better is found, only the last characters in reach are looked at.
_ANYWHERE_CHARS = 64


class Level(IntEnum):
    """Kinds of boundaries, the best one lowest."""

    HEADING = 0
    PARAGRAPH = 1
    SENTENCE = 2
    WORD = 3
    #: Inside a run without whitespace, between a mark and a letter or digit.
    PART = 4
    ANYWHERE = 5


@dataclass(frozen=True)
class Cut:
    """A place to cut, and what it lies between."""

    position: int
    level: Level


def choose(text: str, low: int, high: int, outline: Outline, tokens: Sequence[int] = ()) -> Cut:
    """Choose where to cut in [low, high].

    Of the boundaries of the best kind one is taken by the hash of its surroundings, the later ones
    being preferred. So the choice is the text's own more than one of the distance to what was cut
    before, and after a change the cuts soon fall on the old ones again.

    Parameters
    ----------
    tokens
        Where tokens start between low and high: better than between any two characters.

    Notes
    -----
    The choice is weighted rendezvous hashing: lowest -ln(hash) / weight, hash in (0, 1].
    """
    for level, find in _FINDERS.items():
        found = list(find(text, low, high, outline))
        if found:
            return Cut(_drawn(text, found, low, high), level)
    found = [position for position in tokens if is_between_graphemes(text, position)]
    if not found:
        last = range(max(low, high - _ANYWHERE_CHARS), high + 1)
        found = [position for position in last if is_between_graphemes(text, position)]
    return Cut(_drawn(text, found, low, high) if found else high, Level.ANYWHERE)


def next_word(text: str, low: int, high: int) -> int | None:
    """Give the first start of a word in [low, high), if there is one."""
    match = _WORD_START.search(text, low, high)
    return match.start() if match else None


def next_visible(text: str, start: int) -> int:
    """Give the first position from `start` that is not whitespace; the length if there is none."""
    match = _NON_SPACE.search(text, start)
    return match.start() if match else len(text)


def end_of_visible(text: str, start: int, end: int) -> int:
    """Give the end of text[start:end] without the whitespace that ends it."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return end


def _drawn(text: str, positions: Sequence[int], low: int, high: int) -> int:
    """Draw one position by the text around each; of equal ones the last."""

    def key(position: int) -> tuple[float, int]:
        weight = ((position - low + 1) / (high - low + 1)) ** _STEEPNESS
        return -math.log(_hash(text, position)) / weight, -position

    return min(positions, key=key)


def _hash(text: str, position: int) -> float:
    """Hash the text around a position to (0, 1]."""
    around = text[max(0, position - _BEFORE_CHARS) : position + _AFTER_CHARS]
    return float(zlib.crc32(around.encode("utf-8", "surrogatepass")) + 1) / 2**32


def _matches(
    pattern: re.Pattern[str], text: str, low: int, high: int, *, at_end: bool = False
) -> Iterator[int]:
    # Some way past `high`, so that what must follow a boundary can be seen.
    for match in pattern.finditer(text, max(0, low - 8), min(len(text), high + 16)):
        position = match.end() if at_end else match.start()
        if low <= position <= high:
            yield position


def _headings(text: str, low: int, high: int, outline: Outline) -> Iterator[int]:
    yield from outline.headings_between(low, high)


def _paragraphs(text: str, low: int, high: int, outline: Outline) -> Iterator[int]:
    patterns = [_BLANK_LINE, _BLOCK_LINE] if outline.text else [_BLANK_LINE]
    for pattern in patterns:
        for position in _matches(pattern, text, low, high):
            if not outline.in_fence(position) and not outline.in_heading(position):
                yield position


def _sentences(text: str, low: int, high: int, outline: Outline) -> Iterator[int]:
    for position in _matches(_SENTENCE, text, low, high, at_end=True):
        if not outline.in_fence(position) and not outline.in_heading(position):
            yield position
    if outline.text:
        for position in _matches(_TABLE_OR_CODE_LINE, text, low, high):
            if outline.in_fence(position) or text[position + 1] == "|":
                yield position


def _words(text: str, low: int, high: int, outline: Outline) -> Iterator[int]:
    return _matches(_WORD, text, low, high)


def _parts(text: str, low: int, high: int, outline: Outline) -> Iterator[int]:
    return _matches(_PART, text, low, high)


_FINDERS: dict[Level, Callable[[str, int, int, Outline], Iterator[int]]] = {
    Level.HEADING: _headings,
    Level.PARAGRAPH: _paragraphs,
    Level.SENTENCE: _sentences,
    Level.WORD: _words,
    Level.PART: _parts,
}
