from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models import building
from embedpipe.models.directory import GRAPH, ModelDirectory

from tests.tiny_model import a_tiny_model


def test_what_is_half_done_is_gone_afterwards(tmp_path: Path) -> None:
    def interrupted() -> None:
        with building.scratch(tmp_path / "models") as scratch:
            (scratch / "tiny").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert list((tmp_path / "models").iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_the_work_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / ".building-dead").mkdir()
    (tmp_path / ".building-dead" / "model.onnx").write_bytes(b"half")
    (tmp_path / ".building-alive").mkdir()
    lock = os.open(tmp_path / ".building-alive", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)

    with building.scratch(tmp_path):
        pass

    os.close(lock)
    assert [path.name for path in tmp_path.iterdir()] == [".building-alive"]


def test_a_model_with_a_wrong_file_is_not_put_in_place(tmp_path: Path) -> None:
    built = a_tiny_model(tmp_path)
    (built.path / GRAPH).write_bytes(b"damaged")

    with pytest.raises(ModelFilesError, match="not the pinned file"):
        building.put(built.path, tmp_path / "models" / "tiny")


def test_a_new_model_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    old = a_tiny_model(tmp_path)
    (old.path / "extra.json").write_text("{}")

    with building.scratch(tmp_path) as scratch:
        building.put(a_tiny_model(scratch).path, old.path)

    assert ModelDirectory.read(old.path).problems() == []
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_removing_removes_the_folder_and_nothing_else(tmp_path: Path) -> None:
    directory = a_tiny_model(tmp_path)
    (tmp_path / "other").mkdir()

    building.remove(directory.path)

    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_a_link_points_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    directory = a_tiny_model(tmp_path / "real")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(directory.path)

    with pytest.raises(ModelFilesError, match="left alone"):
        building.remove(tmp_path / "models" / "tiny")

    assert directory.problems() == []
