"""Weights in 8 bits: a quarter of the size.

Numbers that are near each other in what they do share a scale, and there is no offset:
`weight = scale * q`, q from -127 to 127, scale the largest absolute weight of them / 127.

Notes
-----
Source: Jacob et al. (2018), Quantization and Training of Neural Networks, section 2.1, with zero
point 0 and a scale per output; of activations quantized as they come: the definition of the ONNX
operator DynamicQuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from embedpipe.models.graph.nodes import Array

#: Tables of fewer numbers stay as they are: they are small, and positions lose most.
LEAST_TABLE = 1_000_000

# Inputs of one output that share a scale. With one for all of them, the vectors of
# all-mpnet-base-v2 are at 0.9981 to float32, with this at 0.9998; files grow by a twentieth.
_GROUP = 64

_Replace = Callable[["_Quantizer", NodeProto], Iterator[NodeProto]]


@dataclass
class _Quantizer:
    tensors: dict[str, TensorProto]
    least_table: int
    added: dict[str, Array] = field(default_factory=dict)
    #: Inputs that are quantized already, and what they became.
    inputs: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def weight(self, name: str) -> Array | None:
        """Give a matrix of float32; None when the name is of something else."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            return None
        return numpy_helper.to_array(tensor)

    def by_entry(self, name: str, weight: Array, *, axis: int) -> tuple[str, str]:
        """Keep a matrix with a scale per entry of the axis; give the names of both."""
        names = f"{name}_q{axis}", f"{name}_scale{axis}"
        if names[0] not in self.added:
            self.added[names[0]], scale = _in_8_bits(weight, over=1 - axis)
            self.added[names[1]] = scale
        return names

    def grouped(self, name: str, weight: Array, *, axis: int) -> tuple[str, str, str]:
        """Keep a matrix with a scale per group along the axis; give names: of it, scale, shape.

        What is kept has one axis more; the shape takes it away again.
        """
        names = f"{name}_g{axis}", f"{name}_gscale{axis}", f"{name}_shape"
        if names[0] not in self.added:
            length = weight.shape[axis]
            size = _GROUP if length % _GROUP == 0 else length
            shape = [*weight.shape[:axis], length // size, size, *weight.shape[axis + 1 :]]
            small, scale = _in_8_bits(weight.reshape(shape), over=axis + 1)
            self.added |= {names[0]: small, names[1]: scale}
            self.added[names[2]] = np.array(weight.shape, np.int64)
        return names


def _in_8_bits(values: Array, *, over: int) -> tuple[Array, Array]:
    """Quantize, all along one axis with the same scale; the scale keeps that axis, of length 1."""
    scale = np.abs(values).max(axis=over, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return np.rint(values / scale).astype(np.int8), scale.astype(np.float32)


def weights8(model: ModelProto, *, least_table: int = LEAST_TABLE) -> ModelProto:
    """Hold the weights in 8 bits and compute in float32. Changes the model."""
    return _replaced(model, least_table, {"MatMul": _matrix, "Gemm": _matrix, "Gather": _table})


def dynamic8(model: ModelProto, *, least_table: int = LEAST_TABLE) -> ModelProto:
    """Multiply by 8-bit weights in integers. Changes the model.

    What comes in is quantized with one scale for the whole batch, so a vector depends, a little,
    on its neighbours.
    """
    return _replaced(model, least_table, {"MatMul": _product, "Gather": _table})


def _replaced(model: ModelProto, least_table: int, rules: dict[str, _Replace]) -> ModelProto:
    graph = model.graph
    _name_weights_once(graph)
    quantizer = _Quantizer({tensor.name: tensor for tensor in graph.initializer}, least_table)
    nodes: list[NodeProto] = []
    for node in graph.node:
        rule = rules.get(node.op_type)
        nodes += [node] if rule is None else rule(quantizer, node)
    used = set(_inputs(nodes))
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept += [numpy_helper.from_array(values, name) for name, values in quantizer.added.items()]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return model


def _name_weights_once(graph: GraphProto) -> None:
    """Take away the second names that exporters give to weights that layers share."""
    weights = {tensor.name for tensor in graph.initializer}
    kept = {output.name for output in graph.output} | set(_inputs(graph.node, inner=True))
    names: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        is_name = node.op_type == "Identity" and node.input[0] in weights
        if is_name and node.output[0] not in kept:
            names[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _inputs(nodes: Iterable[NodeProto], *, inner: bool = False) -> Iterator[str]:
    """Give the names that nodes use; with `inner`, only those that graphs within nodes use."""
    for node in nodes:
        if not inner:
            yield from node.input
        for attribute in node.attribute:
            yield from _inputs(attribute.g.node)


def _matrix(quantizer: _Quantizer, node: NodeProto) -> Iterator[NodeProto]:
    name = node.input[1]
    weight = quantizer.weight(name)
    if weight is None:
        yield node
        return
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    small, scale, shape = quantizer.grouped(name, weight, axis=1 if transposed else 0)
    cast, scaled, wide = (f"{node.output[0]}_weight_{part}" for part in ("cast", "scaled", "wide"))
    # Not DequantizeLinear: ONNX Runtime makes one product in integers of that and the MatMul, on
    # some CPUs, and the vectors are then no longer those of the weights. These nodes it computes
    # once, when it loads the graph.
    yield helper.make_node("Cast", [small], [cast], name=cast, to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [cast, scale], [scaled], name=scaled)
    yield helper.make_node("Reshape", [scaled, shape], [wide], name=wide)
    node.input[1] = wide
    yield node


def _table(quantizer: _Quantizer, node: NodeProto) -> Iterator[NodeProto]:
    """Look up the row and its scale, so that the table is never widened as a whole."""
    table = quantizer.weight(node.input[0])
    by_column = any(one.name == "axis" and one.i != 0 for one in node.attribute)
    if table is None or table.size < quantizer.least_table or by_column:
        yield node
        return
    small, scale = quantizer.by_entry(node.input[0], table, axis=0)
    rows, wide, scales = (f"{node.output[0]}_{part}" for part in ("rows", "wide", "scales"))
    ids = node.input[1]
    yield helper.make_node("Gather", [small, ids], [rows], name=rows)
    yield helper.make_node("Cast", [rows], [wide], name=wide, to=TensorProto.FLOAT)
    yield helper.make_node("Gather", [scale, ids], [scales], name=scales)
    yield helper.make_node("Mul", [wide, scales], [node.output[0]], name=node.name)


def _product(quantizer: _Quantizer, node: NodeProto) -> Iterator[NodeProto]:
    value, name = node.input
    weight = quantizer.weight(name)
    if weight is None:
        yield node
        return
    quantized, scale = quantizer.by_entry(name, weight, axis=1)
    # ONNX Runtime makes one operator of what follows, if the scale has one axis.
    quantizer.added[scale] = quantizer.added[scale].reshape(-1)
    if value not in quantizer.inputs:
        names = (f"{value}_q", f"{value}_scale", f"{value}_zero")
        quantizer.inputs[value] = names
        yield helper.make_node("DynamicQuantizeLinear", [value], names, name=names[0])
    small, of_value, zero = quantizer.inputs[value]
    total, wide, both = (f"{node.output[0]}_{part}" for part in ("int", "float", "scale"))
    yield helper.make_node("MatMulInteger", [small, quantized, zero], [total], name=total)
    yield helper.make_node("Cast", [total], [wide], name=wide, to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [of_value, scale], [both], name=both)
    yield helper.make_node("Mul", [wide, both], [node.output[0]], name=node.name)
