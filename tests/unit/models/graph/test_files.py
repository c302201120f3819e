from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models.graph.files import graph_name, save

from tests.foreign_graphs import an_export


def test_a_small_graph_is_one_file(tmp_path: Path) -> None:
    assert save(an_export(), tmp_path / "model.onnx") == ()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_large_graph_has_its_weights_beside_it(tmp_path: Path) -> None:
    beside = save(an_export(), tmp_path / "model.w8.onnx", largest=2_000)

    assert beside == ("model.w8.onnx_data",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.w8.onnx", *beside]
    loaded = onnx.load(tmp_path / "model.w8.onnx")
    sizes = {one.name: len(one.raw_data) for one in loaded.graph.initializer}
    assert sizes == {one.name: len(one.raw_data) for one in an_export().graph.initializer}


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save(an_export(), tmp_path / folder / "model.onnx", largest=2_000)

    for name in ("model.onnx", "model.onnx_data"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_graph_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    model = an_export()
    model.graph.node[3].op_type = "Nonsense"

    with pytest.raises(ModelFilesError, match="is not valid"):
        save(model, tmp_path / "model.onnx")


def test_each_precision_has_a_file_of_its_own() -> None:
    assert graph_name("fp32") == "model.onnx"
    assert graph_name("int8") == "model.int8.onnx"
