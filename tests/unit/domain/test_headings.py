from __future__ import annotations

import time

import pytest
from embedpipe.domain.headings import MAX_TITLE_CHARS, HeadingPath, Outline


def path_at(text: str, mark: str) -> tuple[str, ...]:
    return HeadingPath(Outline(text)).at(text.index(mark))


def test_the_path_holds_the_headings_in_force() -> None:
    text = "# A\na\n## B\nb\n### C\nc\n## D\nd\n# E\ne\n"
    path = HeadingPath(Outline(text))

    paths = [path.at(text.index(f"\n{mark}\n") + 1) for mark in "abcde"]

    assert paths == [("A",), ("A", "B"), ("A", "B", "C"), ("A", "D"), ("E",)]


def test_a_level_left_out_is_no_level() -> None:
    assert path_at("## A\n#### B\nhere", "here") == ("A", "B")


def test_a_heading_is_in_force_where_it_starts() -> None:
    text = "x\n\n  ## A\n"

    assert HeadingPath(Outline(text)).at(text.index("##")) == ("A",)


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# A ##", "A"),
        ("#\tA\t#  ", "A"),
        ("# C#", "C#"),
        ("# A # B", "A # B"),
        ("   # A", "A"),
        ("# A\r", "A"),
        ("# Über 日本", "Über 日本"),
    ],
)
def test_a_title_is_what_stands_between_the_marks(line: str, title: str) -> None:
    assert path_at(f"{line}\nhere", "here") == (title,)


@pytest.mark.parametrize(
    "line", ["#A", "####### A", "    # A", "text # A", "\\# A", "#", "# ##", "##\r"]
)
def test_what_is_no_heading_with_a_title_is_not_in_the_path(line: str) -> None:
    assert path_at(f"{line}\nhere", "here") == ()


@pytest.mark.parametrize(
    "fenced",
    [
        "```\n# no\n```",
        "~~~ text\n# no\n```\n# no\n~~~~",
        "````\n```\n# no\n````",
        "```\n# no\n``` not closed\n# no\n```",
    ],
)
def test_a_heading_in_fenced_code_is_none(fenced: str) -> None:
    assert path_at(f"# A\n{fenced}\n## B\nhere", "here") == ("A", "B")


def test_a_fence_that_is_never_closed_goes_to_the_end() -> None:
    assert path_at("# A\n```\n# no\nhere", "here") == ("A",)


def test_backticks_with_backticks_behind_them_open_nothing() -> None:
    assert path_at("``` a ```\n# A\nhere", "here") == ("A",)


def test_a_title_is_cut_at_its_longest() -> None:
    [title] = path_at(f"# {'x' * 1_000_000}\nhere", "here")

    assert title == "x" * MAX_TITLE_CHARS


@pytest.mark.parametrize(
    "text",
    ["#" * 500_000, "`" * 500_000, "# " + " " * 500_000 + "#", "   " * 200_000, "#\n" * 200_000],
)
def test_reading_is_linear(text: str) -> None:
    start = time.process_time()

    HeadingPath(Outline(text)).at(len(text))

    assert time.process_time() - start < 5
