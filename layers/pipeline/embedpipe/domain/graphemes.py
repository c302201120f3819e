"""What a reader takes for one character."""

from __future__ import annotations

import unicodedata

_ZWJ = "\u200d"


def is_between_graphemes(text: str, position: int) -> bool:
    """Say whether no accent, joined emoji or flag is torn apart here."""
    if not 0 < position < len(text):
        return True
    before, after = text[position - 1], text[position]
    if _ZWJ in (before, after) or unicodedata.category(after).startswith("M"):
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff":
        return False
    return not (_is_flag_half(before) and _is_flag_half(after) and _odd_halves(text, position))


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _odd_halves(text: str, position: int) -> bool:
    start = position
    # A row of more flags than this is cut anywhere.
    while start > max(0, position - 64) and _is_flag_half(text[start - 1]):
        start -= 1
    return (position - start) % 2 == 1
