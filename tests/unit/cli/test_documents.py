from __future__ import annotations

from pathlib import Path

import pytest
from embedpipe.cli.documents import MAX_BYTES, find, reason_to_skip


def a_file(path: Path, content: bytes = b"text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_is_walked_in_order_and_ids_are_relative_to_it(tmp_path: Path) -> None:
    a_file(tmp_path / "docs" / "b.txt")
    a_file(tmp_path / "docs" / "a" / "deep" / "x.md")
    single = a_file(tmp_path / "README.md")

    found = find([tmp_path / "docs", single])

    named = [(file.document_id, file.content_type) for file in found.files]
    assert named == [
        ("b.txt", "text/plain"),
        ("a:deep:x.md", "text/markdown"),
        ("README.md", "text/markdown"),
    ]


def test_what_is_no_document_is_counted(tmp_path: Path) -> None:
    a_file(tmp_path / "text.txt")
    a_file(tmp_path / ".git" / "config")
    a_file(tmp_path / ".env")
    a_file(tmp_path / "image.png", b"\x89PNG\0")
    a_file(tmp_path / "empty.txt", b" \n")

    found = find([tmp_path])

    assert [file.document_id for file in found.files] == ["text.txt"]
    assert found.skipped == {"hidden": 2, "binary": 1, "empty": 1}


def test_a_hidden_file_that_was_given_itself_is_taken(tmp_path: Path) -> None:
    assert [f.document_id for f in find([a_file(tmp_path / ".notes")]).files] == [".notes"]


def test_two_files_with_one_id_clash(tmp_path: Path) -> None:
    paths = [a_file(tmp_path / "a" / "x.txt"), a_file(tmp_path / "b" / "x.txt")]

    assert find(paths).clashes == ["x.txt"]


@pytest.mark.parametrize("cut", [8189, 8190, 8191, 8192])
def test_a_character_cut_by_the_probe_is_no_reason(tmp_path: Path, cut: int) -> None:
    path = a_file(tmp_path / "x", b"a" * cut + "日本語".encode() * 100)

    assert reason_to_skip(path) is None


def test_latin_1_is_binary_and_a_large_file_is_named(tmp_path: Path) -> None:
    assert reason_to_skip(a_file(tmp_path / "x", "café au lait".encode("latin-1"))) == "binary"
    large = a_file(tmp_path / "y", b"x" * (MAX_BYTES + 1))
    assert reason_to_skip(large) == f"larger than {MAX_BYTES} bytes"
