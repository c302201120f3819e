from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from embedpipe.models.graph.precisions import transformed
from embedpipe.models.graph.quantize import dynamic8, weights8
from embedpipe.models.manifest import PRECISIONS, Precision
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

DICE = np.random.default_rng(4)
TABLE = DICE.normal(size=(50, 128)).astype(np.float32)
MATRIX = DICE.normal(size=(128, 32)).astype(np.float32)
ODD = DICE.normal(size=(32, 5)).astype(np.float32)


def a_model(*, gemm: bool = False) -> ModelProto:
    """Make a table, a matrix of two groups, and one that cannot be parted into groups."""
    last = (
        helper.make_node("Gemm", ["flat", "odd"], ["out"], transB=1, name="last")
        if gemm
        else helper.make_node("MatMul", ["flat", "odd"], ["out"], name="last")
    )
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["found"], name="words"),
            helper.make_node("MatMul", ["found", "matrix"], ["inner"], name="inner"),
            helper.make_node("ReduceSum", ["inner", "axes"], ["flat"], name="sum", keepdims=0),
            last,
        ],
        "graph",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 5])],
        [
            numpy_helper.from_array(TABLE, "table"),
            numpy_helper.from_array(MATRIX, "matrix"),
            numpy_helper.from_array(ODD.T.copy() if gemm else ODD, "odd"),
            numpy_helper.from_array(np.array([1]), "axes"),
        ],
    )
    return helper.make_model(
        graph,
        ir_version=8,
        producer_name="embedpipe",
        opset_imports=[helper.make_opsetid("", 17)],
    )


def run(model: ModelProto) -> Any:
    from onnxruntime import InferenceSession

    checker.check_model(model, full_check=True)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"input_ids": np.arange(12).reshape(4, 3)})
    return found


def expected() -> Any:
    return (TABLE[np.arange(12).reshape(4, 3)] @ MATRIX).sum(axis=1) @ ODD


def error(found: Any) -> float:
    return float(np.linalg.norm(found - expected()) / np.linalg.norm(expected()))


@pytest.mark.parametrize("gemm", [False, True])
def test_8_bit_weights_are_near_the_numbers_they_stand_for(gemm: bool) -> None:
    model = weights8(a_model(gemm=gemm), least_table=1)

    assert error(run(model)) < 0.02
    kept = {numpy_helper.to_array(one).dtype for one in model.graph.initializer if one.raw_data}
    assert np.dtype(np.int8) in kept
    scales = {one.name: list(one.dims) for one in model.graph.initializer if "scale" in one.name}
    odd = [5, 1, 1] if gemm else [1, 1, 5]
    assert sorted(scales.values()) == sorted([odd, [2, 1, 32], [50, 1]])
    assert not {"table", "matrix", "odd"} & {one.name for one in model.graph.initializer}


def test_8_bit_weights_take_a_quarter_of_the_room() -> None:
    before = len(a_model().SerializeToString())

    assert len(weights8(a_model(), least_table=1).SerializeToString()) < before * 0.4


def test_products_in_8_bits_are_near_as_well() -> None:
    model = dynamic8(a_model(), least_table=1)

    assert error(run(model)) < 0.05
    assert "MatMulInteger" in {node.op_type for node in model.graph.node}


def test_a_small_table_stays_as_it_is() -> None:
    model = weights8(a_model())

    assert "table" in {one.name for one in model.graph.initializer}


def test_a_weight_that_layers_share_under_two_names_is_quantized_once() -> None:
    model = a_model()
    model.graph.node.insert(0, helper.make_node("Identity", ["matrix"], ["again"]))
    model.graph.node[2].input[1] = "again"

    quantized = weights8(model)

    assert error(run(quantized)) < 0.02
    assert "Identity" not in {node.op_type for node in quantized.graph.node}
    assert "matrix" not in {one.name for one in quantized.graph.initializer}


def test_a_weight_that_a_graph_within_the_graph_uses_is_kept() -> None:
    model = a_model()
    then, other = (
        helper.make_graph(
            [helper.make_node("ReduceSum", ["matrix"], [name], keepdims=0)],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [])],
        )
        for name in ("a", "b")
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.extend(
        [
            helper.make_node("If", ["yes"], ["sum"], then_branch=then, else_branch=other),
            helper.make_node("Sub", ["before", "sum"], ["less"]),
            helper.make_node("Add", ["less", "sum"], ["out"]),
        ]
    )
    model.graph.node[3].output[0] = "before"

    assert error(run(weights8(model))) < 0.02


def test_a_matrix_of_zeros_stays_one() -> None:
    model = a_model()
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(MATRIX * 0, "matrix"))

    assert not run(weights8(model)).any()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_takes_int64_and_gives_float32(precision: Precision) -> None:
    model = transformed(a_model(), precision)

    assert run(model).dtype == np.float32
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.INT64
    assert error(run(model)) < 0.05


def test_float16_halves_the_file() -> None:
    assert len(transformed(a_model(), "fp16").SerializeToString()) < 0.55 * len(
        a_model().SerializeToString()
    )
