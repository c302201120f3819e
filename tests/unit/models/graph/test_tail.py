from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from embedpipe.domain.pooling import PoolingType, normalize, pool
from embedpipe.models.graph.tail import Dense, Tail, append
from onnx import ModelProto, TensorProto, checker, helper

HIDDEN = np.random.default_rng(2).normal(size=(3, 4, 2)).astype(np.float32)
MASK = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]])


def passing_through(opset: int, output: str = "last_hidden_state", rank: int = 3) -> ModelProto:
    """Make a graph that gives what it gets."""
    shape: list[str | int] = ["batch", "tokens", 2] if rank == 3 else ["batch", 2]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["hidden"], [output])],
        "graph",
        [
            helper.make_tensor_value_info("hidden", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "tokens"]),
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, ir_version=7, opset_imports=[helper.make_opsetid("", opset)])


def run(model: ModelProto, hidden: Any = HIDDEN) -> Any:
    from onnxruntime import InferenceSession

    checker.check_model(model, full_check=True)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [vectors] = session.run(["sentence_embedding"], {"hidden": hidden, "attention_mask": MASK})
    return vectors


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 21])
@pytest.mark.parametrize("how", ["mean", "cls", "last_token"])
def test_any_operator_set_pools_as_we_do_outside(opset: int, how: PoolingType) -> None:
    model = append(passing_through(opset), Tail(how), dimensions=2)

    assert run(model) == pytest.approx(normalize(pool(HIDDEN, MASK, how)), abs=1e-6)


def test_dense_layers_come_between_pooling_and_unit_length() -> None:
    weight = np.array([[0.1, 0.2], [0.3, -0.4], [0.5, 0.1]], np.float32)
    first = Dense(weight, np.ones(3, np.float32), "tanh")
    second = Dense(np.array([[1, -1, 0], [0, 1, 2]], np.float32), None, "identity")

    model = append(passing_through(17), Tail("mean", (first, None, second)), dimensions=2)

    inner = np.tanh(pool(HIDDEN, MASK, "mean") @ first.weight.T + 1)
    assert run(model) == pytest.approx(
        normalize((normalize(inner) @ second.weight.T).astype(np.float32))
    )


def test_a_graph_that_pools_by_itself_is_only_scaled() -> None:
    model = passing_through(17, output="sentence_embedding", rank=2)

    vectors = run(append(model, Tail(None), dimensions=2), HIDDEN[:, 0])

    assert vectors == pytest.approx(normalize(HIDDEN[:, 0]))


def test_a_row_of_zeros_stays_one() -> None:
    model = append(passing_through(17), Tail("cls"), dimensions=2)

    assert run(model, np.zeros_like(HIDDEN)).tolist() == [[0, 0]] * 3
