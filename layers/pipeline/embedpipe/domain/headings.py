"""Headings and code fences of Markdown."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right

#: A heading is stored with every chunk below it, so one longer than this is cut.
MAX_TITLE_CHARS = 200

_LINES = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)|(?P<marks>#{1,6})(?=[ \t\r\n]|\Z)[^\n]*)",
    re.MULTILINE,
)


class Outline:
    """Where headings and fenced code lie in a text.

    Only offsets are kept: a text can be nothing but headings.
    """

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.heading_starts = array("I")
        self._heading_ends = array("I")
        self._levels = bytearray()
        self._fence_starts = array("I")
        self._fence_ends = array("I")
        self._scan()

    def headings_between(self, low: int, high: int) -> array[int]:
        """Give the starts of the headings in [low, high]."""
        first = bisect_left(self.heading_starts, low)
        return self.heading_starts[first : bisect_right(self.heading_starts, high)]

    def in_heading(self, position: int) -> bool:
        """Say whether a cut here parts a heading from what it heads: inside it or at its end."""
        index = bisect_left(self.heading_starts, position) - 1
        return index >= 0 and position <= self._heading_ends[index]

    def end_of_heading(self, position: int) -> int:
        """Give the end of the heading that starts before a position."""
        return self._heading_ends[bisect_left(self.heading_starts, position) - 1]

    def in_fence(self, position: int) -> bool:
        """Say whether a cut here is inside fenced code."""
        index = bisect_left(self._fence_starts, position) - 1
        return index >= 0 and position < self._fence_ends[index]

    def heading(self, index: int) -> tuple[int, str]:
        """Give level (1 to 6) and title of one heading."""
        level = self._levels[index]
        start = self.heading_starts[index] + level
        # Twice the longest title is enough to find it behind some blanks.
        raw = self.text[start : min(self._heading_ends[index], start + 2 * MAX_TITLE_CHARS)].strip()
        bare = raw.rstrip("#")
        title = bare.rstrip() if not bare or bare[-1].isspace() else raw
        return level, title[:MAX_TITLE_CHARS]

    def _scan(self) -> None:
        fence = ""
        for line in _LINES.finditer(self.text):
            if fence:
                if _closes(line, fence):
                    self._fence_ends.append(line.end())
                    fence = ""
            elif line["marks"]:
                self.heading_starts.append(line.start("marks"))
                self._heading_ends.append(line.end())
                self._levels.append(len(line["marks"]))
            elif _opens(line):
                fence = line["fence"]
                self._fence_starts.append(line.start("fence"))
        if fence:
            self._fence_ends.append(len(self.text))


class HeadingPath:
    """The headings in force, followed down a text."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._next = 0
        self._open: list[int] = []

    def at(self, position: int) -> tuple[str, ...]:
        """Give the titles in force, outermost first. Positions must not fall from call to call."""
        starts = self._outline.heading_starts
        while self._next < len(starts) and starts[self._next] <= position:
            level, _ = self._outline.heading(self._next)
            while self._open and self._outline.heading(self._open[-1])[0] >= level:
                self._open.pop()
            self._open.append(self._next)
            self._next += 1
        titles = (self._outline.heading(index)[1] for index in self._open)
        return tuple(title for title in titles if title)


def _opens(line: re.Match[str]) -> bool:
    return bool(line["fence"]) and not (line["fence"][0] == "`" and "`" in line["info"])


def _closes(line: re.Match[str], fence: str) -> bool:
    return bool(line["fence"]) and line["fence"].startswith(fence) and not line["info"].strip()
