"""Nodes and weights of a graph in the making, and the model that they become."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
# The oldest file format that holds opset 17: any runtime that knows the opset reads it.
IR_VERSION = 8

IDS = "input_ids"
MASK = "attention_mask"
HIDDEN = "last_hidden_state"
SENTENCE = "sentence_embedding"

Array = npt.NDArray[Any]


class Nodes:
    """Nodes and weights so far. Each `add` gives the name of its output.

    Parameters
    ----------
    prefix
        Begins every name, so that none is already in the graph that they are added to.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, Array] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        name = f"{self.prefix}{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def keep(self, name: str, values: Array) -> str:
        """Keep a constant; one that is kept under the same name again must be the same."""
        name = f"{self.prefix}{name}"
        self.tensors[name] = np.ascontiguousarray(values)
        return name

    def number(self, value: float) -> str:
        """Keep a float32 scalar."""
        return self.keep(f"number_{value!r}", np.array(value, np.float32))

    def axes(self, *axes: int) -> str:
        """Keep axes, as operators since opset 13 take them."""
        return self.keep(f"axes_{'_'.join(map(str, axes))}", np.array(axes, np.int64))

    def end(self, value: str, name: str) -> None:
        """Give a value the name of an output."""
        self.nodes.append(
            helper.make_node("Identity", [value], [name], name=f"{self.prefix}{name}_out")
        )

    def initializers(self) -> list[TensorProto]:
        """Give the constants as they stand in a file."""
        return [numpy_helper.from_array(values, name) for name, values in self.tensors.items()]


def trunk_of(nodes: Nodes, width: int) -> ModelProto:
    """Make the model that gives the last hidden state."""
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes.nodes,
        "sentence_encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in (IDS, MASK)],
        [helper.make_tensor_value_info(HIDDEN, TensorProto.FLOAT, [*shape, width])],
        nodes.initializers(),
    )
    return helper.make_model(
        graph,
        producer_name="embedpipe",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
