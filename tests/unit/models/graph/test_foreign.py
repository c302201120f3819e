from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models.graph import foreign
from onnx import ModelProto, TensorProto, helper

from tests.foreign_graphs import an_export, saved, with_input, with_sum
from tests.tiny_model import DIMENSIONS


def test_the_graph_is_found_where_exporters_put_it(tmp_path: Path) -> None:
    assert foreign.find(tmp_path) is None

    inner = saved(an_export(), tmp_path / "onnx" / "model.onnx")

    assert foreign.find(tmp_path) == inner


def test_hidden_states_are_preferred_to_what_the_graph_pools(tmp_path: Path) -> None:
    path = saved(with_sum(an_export()), tmp_path / "model.onnx")

    graph = foreign.read(path)

    assert (graph.output, graph.is_pooled) == ("last_hidden_state", False)
    assert graph.dimensions == DIMENSIONS
    assert [one.name for one in graph.trunk().graph.output] == ["last_hidden_state"]


def test_a_graph_that_gives_vectors_only_is_taken_as_it_is(tmp_path: Path) -> None:
    graph = foreign.read(saved(an_export(is_pooled=True), tmp_path / "model.onnx"))

    assert (graph.output, graph.is_pooled) == ("sentence_embedding", True)


def test_weights_beside_the_graph_are_part_of_it(tmp_path: Path) -> None:
    path = saved(an_export(), tmp_path / "model.onnx", data="model.onnx_data")

    graph = foreign.read(path)

    assert [one.name for one in graph.files] == ["model.onnx", "model.onnx_data"]
    assert all(not one.external_data for one in graph.trunk().graph.initializer)


def renamed_data(model: ModelProto, name: str) -> ModelProto:
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    return model


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_weights_outside_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 100_000)
    path = saved(an_export(), tmp_path / "in" / "model.onnx", data="model.onnx_data")
    path.write_bytes(
        renamed_data(onnx.load(path, load_external_data=False), name).SerializeToString()
    )

    with pytest.raises(ModelFilesError, match="lies outside"):
        foreign.read(path)


def test_weights_through_a_link_are_refused(tmp_path: Path) -> None:
    path = saved(an_export(), tmp_path / "model.onnx", data="model.onnx_data")
    data = (tmp_path / "model.onnx_data").rename(tmp_path / "elsewhere")
    (tmp_path / "model.onnx_data").symlink_to(data)

    with pytest.raises(ModelFilesError, match="is a link"):
        foreign.read(path)


def of_opset(model: ModelProto, version: int) -> ModelProto:
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version))
    return model


def without_mask(model: ModelProto) -> ModelProto:
    del model.graph.input[1]
    return model


def of_kind(model: ModelProto, kind: int) -> ModelProto:
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


def of_fixed_shape(model: ModelProto) -> ModelProto:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 128
    return model


def in_float16(model: ModelProto) -> ModelProto:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def without_known_output(model: ModelProto) -> ModelProto:
    model.graph.output[0].name = "logits"
    model.graph.output[0].type.tensor_type.shape.dim.add()
    model.graph.output.append(model.graph.output[0])
    return model


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (lambda one: of_opset(one, 10), "operator set below 11"),
        (without_mask, "does not take attention_mask"),
        (lambda one: with_input(one, "position_ids", "b", "t"), "takes position_ids"),
        (lambda one: of_kind(one, TensorProto.INT32), "must be int64"),
        (of_fixed_shape, "fixed shape"),
        (in_float16, "must be float32"),
        (without_known_output, "gives logits, logits, and neither"),
    ],
)
def test_a_graph_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, changed: Callable[[ModelProto], ModelProto], reason: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(changed(an_export()).SerializeToString())

    with pytest.raises(ModelFilesError, match=reason):
        foreign.read(path)


@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 40, b"not a graph"])
def test_what_is_no_graph_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)

    with pytest.raises(ModelFilesError):
        foreign.read(tmp_path / "model.onnx")
