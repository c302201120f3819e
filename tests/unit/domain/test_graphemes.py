from __future__ import annotations

import pytest
from embedpipe.domain.graphemes import is_between_graphemes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("e", "\u0301"),
        ("\U0001f469", "\u200d\U0001f467"),
        ("\U0001f469\u200d", "\U0001f467"),
        ("\U0001f44d", "\U0001f3fd"),
        ("\u2764", "\ufe0f"),
        ("\U0001f1e9", "\U0001f1ea"),
        ("\U0001f1e9\U0001f1ea\U0001f1eb", "\U0001f1f7"),
    ],
)
def test_one_character_is_not_torn(before: str, after: str) -> None:
    assert not is_between_graphemes(before + after, len(before))


@pytest.mark.parametrize(
    ("before", "after"),
    [("e", "e"), ("\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"), ("日", "本")],
)
def test_between_two_characters_is_a_place_to_cut(before: str, after: str) -> None:
    assert is_between_graphemes(before + after, len(before))


def test_the_ends_of_a_text_are_places_to_cut() -> None:
    assert is_between_graphemes("a", 0)
    assert is_between_graphemes("a", 1)
