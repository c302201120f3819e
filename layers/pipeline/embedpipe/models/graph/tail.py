"""From token vectors to one vector of unit length, as the end of a graph.

It stays in float32 whatever the graph before it computes in: a sum over hundreds of tokens can
leave the range of float16.

Notes
-----
Source of the poolings: Reimers & Gurevych (2019), Sentence-BERT, section 3 (MEAN, CLS), and Wang
et al. (2024), Improving Text Embeddings with Large Language Models, section 3.1 (last token).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Literal

import numpy as np
from onnx import ModelProto, TensorProto, helper

from embedpipe.domain.pooling import PoolingType
from embedpipe.models.graph.nodes import MASK, SENTENCE, Array, Nodes

#: The first operator set with CumSum.
LEAST_OPSET = 11
# From here on, operators take axes as an input.
_AXES_AS_INPUT = 13


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling; `weight` has shape (outputs, inputs)."""

    weight: Array
    bias: Array | None
    activation: Literal["identity", "tanh"]


@dataclass(frozen=True)
class Tail:
    """What follows the hidden states.

    Attributes
    ----------
    pooling
        None when the graph pools by itself.
    steps
        Layers in between; None stands for scaling to unit length, which also ends every tail.
    """

    pooling: PoolingType | None
    steps: Sequence[Dense | None] = field(default_factory=tuple)


def append(model: ModelProto, tail: Tail, *, dimensions: int) -> ModelProto:
    """Put the tail behind a graph's only output.

    Parameters
    ----------
    model
        Gives the hidden states, or vectors when the tail has no pooling, float32. Changed.

    Returns
    -------
    The model; its only output is `sentence_embedding`, shape (batch, dimensions), unit length.
    """
    nodes = _TailNodes(_opset(model), _unused_prefix(model))
    [output] = model.graph.output
    value = output.name
    if value == SENTENCE:
        value = _renamed(model, value, f"{nodes.prefix}{value}")
    if tail.pooling is not None:
        value = _pooled(nodes, value, tail.pooling)
    for number, step in enumerate(tail.steps):
        value = _dense(nodes, value, step, number) if step is not None else _unit(nodes, value)
    nodes.end(_unit(nodes, value), SENTENCE)
    model.graph.node.extend(nodes.nodes)
    model.graph.initializer.extend(nodes.initializers())
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(SENTENCE, TensorProto.FLOAT, ["batch", dimensions])
    )
    return model


class _TailNodes(Nodes):
    """Nodes that may stand in a graph of any operator set from `LEAST_OPSET` on."""

    def __init__(self, opset: int, prefix: str) -> None:
        super().__init__(prefix)
        self._axes_as_input = opset >= _AXES_AS_INPUT

    def over(self, operator: str, value: str, axis: int, **attributes: int) -> str:
        """Add an operator that works along an axis."""
        if self._axes_as_input:
            return self.add(operator, value, self.axes(axis), **attributes)
        return self.add(operator, value, axes=[axis], **attributes)


def _opset(model: ModelProto) -> int:
    return max(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _unused_prefix(model: ModelProto) -> str:
    """Give a beginning that no name of the graph has: the graph may be one that was made here."""
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    prefixes = chain(["embedpipe_"], (f"embedpipe{number}_" for number in count(2)))
    return next(one for one in prefixes if not any(name.startswith(one) for name in names))


def _renamed(model: ModelProto, old: str, new: str) -> str:
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    return new


def _pooled(nodes: _TailNodes, hidden: str, how: PoolingType) -> str:
    """Sum the token vectors, each by its share; the mask says where padding is."""
    shares = nodes.over("Unsqueeze", _shares(nodes, how), 2)
    return nodes.over("ReduceSum", nodes.add("Mul", hidden, shares), 1, keepdims=0)


def _shares(nodes: _TailNodes, how: PoolingType) -> str:
    add = nodes.add
    real = add("Cast", MASK, to=TensorProto.FLOAT)
    count = nodes.over("ReduceSum", real, 1, keepdims=1)
    if how == "mean":
        return add("Div", real, count)
    # Which real token each is, from 1.
    ordinal = add("CumSum", real, nodes.keep("axis_1", np.array(1, np.int64)))
    wanted = nodes.number(1.0) if how == "cls" else count
    return add("Mul", real, add("Cast", add("Equal", ordinal, wanted), to=TensorProto.FLOAT))


def _dense(nodes: _TailNodes, value: str, dense: Dense, number: int) -> str:
    weight = nodes.keep(f"dense_{number}.weight", dense.weight.T.astype(np.float32))
    value = nodes.add("MatMul", value, weight)
    if dense.bias is not None:
        bias = nodes.keep(f"dense_{number}.bias", dense.bias.astype(np.float32))
        value = nodes.add("Add", value, bias)
    return nodes.add("Tanh", value) if dense.activation == "tanh" else value


def _unit(nodes: _TailNodes, value: str) -> str:
    # Not LpNormalization: it has no kernel for CUDA.
    squares = nodes.over("ReduceSum", nodes.add("Mul", value, value), 1, keepdims=1)
    length = nodes.add("Max", nodes.add("Sqrt", squares), nodes.number(1e-12))
    return nodes.add("Div", value, length)
