from __future__ import annotations

from pathlib import Path

import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models.untrusted import MAX_JSON_BYTES, child, read_json


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "x\0"])
def test_no_path_leaves_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFilesError, match="lies outside"):
        child(tmp_path, name)


@pytest.mark.parametrize("name", ["link", "folder/inner"])
def test_links_are_refused_wherever_they_are_on_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "inner").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    (tmp_path / "folder").symlink_to(tmp_path / "real")

    with pytest.raises(ModelFilesError, match="is a link"):
        child(tmp_path, name)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"1_Pooling/config\.json is missing"):
        child(tmp_path, "1_Pooling/config.json")


def test_a_file_that_is_not_there_is_an_empty_object(tmp_path: Path) -> None:
    assert read_json(tmp_path, "config.json") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[1]", "is not a JSON object"),
        ("[" * 100_000, "is not JSON"),
        (" " * (MAX_JSON_BYTES + 1), "is larger than"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(ModelFilesError, match=reason):
        read_json(tmp_path, "config.json")
