from __future__ import annotations

import pytest
from embedpipe.domain.boundaries import Level, choose
from embedpipe.domain.headings import Outline


def parts(text: str, *, markdown: bool = False) -> tuple[str, str, Level]:
    """Cut a text once, anywhere but at its ends, and give the two parts and the kind of cut."""
    cut = choose(text, 1, len(text) - 1, Outline(text if markdown else ""))
    return text[: cut.position].rstrip(), text[cut.position :].lstrip(), cut.level


def test_a_heading_goes_before_a_paragraph() -> None:
    text = "One. Two\n\nthree\n# Four\n\nfive"

    assert parts(text, markdown=True) == ("One. Two\n\nthree", "# Four\n\nfive", Level.HEADING)


@pytest.mark.parametrize("blank", ["\n\n", "\r\n\r\n", "\n \t\n", "\n\n\n\n", "\f", "\u2029"])
def test_a_paragraph_goes_before_a_sentence(blank: str) -> None:
    text = f"One. Two words{blank}three. Four"

    assert parts(text) == ("One. Two words", "three. Four", Level.PARAGRAPH)


@pytest.mark.parametrize("block", ["- item", "12. item", "* item", "```x", "> quote"])
def test_a_block_of_markdown_starts_a_paragraph(block: str) -> None:
    text = f"One. Two words\n{block} three. Four"

    assert parts(text, markdown=True)[1:] == (f"{block} three. Four", Level.PARAGRAPH)


def test_a_list_is_only_lines_in_plain_text() -> None:
    assert parts("One words\n- item three")[2] is Level.WORD


def test_a_heading_is_not_parted_from_what_it_heads() -> None:
    text = "# One? Two\n\nthree. Four"

    assert parts(text, markdown=True) == ("# One? Two\n\nthree.", "Four", Level.SENTENCE)


def test_code_is_cut_between_lines() -> None:
    text = "```\na b\n\nc d\n```"

    first, _, level = parts(text, markdown=True)

    assert level is Level.SENTENCE
    assert first in {"```", "```\na b", "```\na b\n\nc d"}


def test_a_table_is_cut_between_rows() -> None:
    text = "| a b | c d |\n| e f | g h |"

    assert parts(text, markdown=True)[:2] == ("| a b | c d |", "| e f | g h |")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("It is so.", "Another"),
        ('He said "it is so."', "Another"),
        ("Is it (really?)", "Another"),
        ("So it goes\u2026", "Another"),
        ("هل هذا صحيح؟", "نعم إنه"),
        ("यह वाक्य है।", "दूसरा वाक्य"),
    ],
)
def test_a_sentence_goes_before_a_word(first: str, second: str) -> None:
    assert parts(f"{first} {second}") == (first, second, Level.SENTENCE)


def test_a_sentence_of_japanese_needs_no_space() -> None:
    text = "「これは文です。」これは二番目の文です"

    assert parts(text) == ("「これは文です。」", "これは二番目の文です", Level.SENTENCE)


@pytest.mark.parametrize(
    "text", ["see e.g. this", "Dr. Smith", "by J. Smith", "about 3.5 of", "the co. is", "i.e. this"]
)
def test_a_dot_does_not_always_end_a_sentence(text: str) -> None:
    assert parts(text)[2] is Level.WORD


def test_words_are_parted_at_whitespace() -> None:
    assert parts("one\u3000two") == ("one", "two", Level.WORD)


def test_chinese_is_cut_between_characters_but_not_before_a_mark() -> None:
    text = "汉字、汉"

    assert parts(text)[:2] in {("汉", "字、汉"), ("汉字、", "汉")}


def test_a_run_without_whitespace_is_cut_behind_a_mark() -> None:
    assert parts("abcdefgh/ijklmnop") == ("abcdefgh/", "ijklmnop", Level.PART)


def test_a_word_is_cut_where_a_token_starts() -> None:
    cut = choose("abcdefgh", 1, 7, Outline(), tokens=[4])

    assert (cut.position, cut.level) == (4, Level.ANYWHERE)


def test_a_word_of_accents_is_cut_at_its_furthest() -> None:
    cut = choose("e" + "\u0301" * 20, 1, 15, Outline())

    assert cut.position == 15


def test_the_choice_follows_the_text_and_not_the_distance() -> None:
    text = " ".join(f"word{number}" for number in range(60))
    moved = "x" * 7 + text

    cuts = [choose(text, start, start + 200, Outline()).position for start in range(100, 110)]
    moved_cuts = [
        choose(moved, start, start + 200, Outline()).position - 7 for start in range(107, 117)
    ]

    assert cuts == moved_cuts
    assert len(set(cuts)) < 4
