"""A BERT sentence encoder as an ONNX graph, straight from its weights: no torch, no hub.

`input_ids` and `attention_mask`, int64, shape (batch, tokens), give `sentence_embedding`, float32,
shape (batch, dimensions): mean over the real tokens, unit length.

Notes
-----
Source of the architecture: Devlin et al. (2019), BERT, section 3, and Vaswani et al. (2017),
Attention Is All You Need, section 3; of the pooling: Reimers & Gurevych (2019), Sentence-BERT,
section 3, MEAN strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper
from pydantic import BaseModel, ConfigDict, Field

OPSET = 17
# The oldest file format that holds opset 17: any runtime that knows the opset reads it.
IR_VERSION = 8
# exp() of it is 0 in float32, and it still fits float16.
MASKED = -10_000.0

Array = npt.NDArray[Any]


class BertConfig(BaseModel):
    """The part of `config.json` that shapes the graph; other architectures are refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["bert"]
    hidden_act: Literal["gelu"]
    position_embedding_type: Literal["absolute"] = "absolute"
    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    layer_norm_eps: float = Field(gt=0)


@dataclass
class _Graph:
    """Nodes and weights so far. Each `add` gives the name of its output."""

    nodes: list[NodeProto]
    tensors: dict[str, Array]

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def keep(self, name: str, values: Array) -> str:
        self.tensors[name] = np.ascontiguousarray(values)
        return name


class _Bert:
    def __init__(self, config: BertConfig, weights: Mapping[str, Array]) -> None:
        self.config = config
        self.weights = weights
        self.graph = _Graph([], {})

    def linear(self, value: str, name: str, scale: float = 1.0) -> str:
        weight = (self.weights[f"{name}.weight"].T * scale).astype(np.float32)
        bias = (self.weights[f"{name}.bias"] * scale).astype(np.float32)
        product = self.graph.add("MatMul", value, self.graph.keep(f"{name}.weight", weight))
        return self.graph.add("Add", product, self.graph.keep(f"{name}.bias", bias))

    def norm(self, value: str, name: str) -> str:
        keep, weights = self.graph.keep, self.weights
        return self.graph.add(
            "LayerNormalization",
            value,
            keep(f"{name}.weight", weights[f"{name}.weight"]),
            keep(f"{name}.bias", weights[f"{name}.bias"]),
            axis=-1,
            epsilon=self.config.layer_norm_eps,
        )

    def embeddings(self) -> str:
        add, keep = self.graph.add, self.graph.keep
        words = self.weights["embeddings.word_embeddings.weight"]
        # Every input is one segment, so that segment's vector can stand in the position table.
        positions = (
            self.weights["embeddings.position_embeddings.weight"]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        # Counted from the mask, not from the shape: beside a GPU, shapes are computed on the CPU.
        ordinal = add("CumSum", "attention_mask", keep("axis_1", np.array(1, np.int64)))
        places = add("Sub", ordinal, keep("first", np.array(1, np.int64)))
        rows = add("Gather", keep("embeddings.positions", positions), places)
        found = add("Gather", keep("embeddings.words", words), "input_ids")
        return self.norm(add("Add", found, rows), "embeddings.LayerNorm")

    def mask(self) -> str:
        """Give 0 for a real token and `MASKED` for padding, shape (batch, 1, 1, tokens)."""
        add, keep = self.graph.add, self.graph.keep
        real = add("Cast", "attention_mask", to=TensorProto.FLOAT)
        wide = add("Unsqueeze", real, keep("axes_1_2", np.array([1, 2], np.int64)))
        padding = add("Sub", keep("one", np.array(1.0, np.float32)), wide)
        return add("Mul", padding, keep("masked", np.array(MASKED, np.float32)))

    def attention(self, value: str, name: str, mask: str) -> str:
        add, keep = self.graph.add, self.graph.keep
        width, heads = self.config.hidden_size, self.config.num_attention_heads
        split = keep("split", np.array([0, 0, heads, width // heads], np.int64))

        def head(part: str, order: list[int], scale: float = 1.0) -> str:
            projected = self.linear(value, f"{name}.self.{part}", scale)
            return add("Transpose", add("Reshape", projected, split), perm=order)

        # Scaling the query's weights once saves scaling every score.
        query = head("query", [0, 2, 1, 3], (width // heads) ** -0.5)
        scores = add("MatMul", query, head("key", [0, 2, 3, 1]))
        shares = add("Softmax", add("Add", scores, mask), axis=-1)
        mixed = add("MatMul", shares, head("value", [0, 2, 1, 3]))
        merged = add(
            "Reshape",
            add("Transpose", mixed, perm=[0, 2, 1, 3]),
            keep("merge", np.array([0, 0, width], np.int64)),
        )
        output = self.linear(merged, f"{name}.output.dense")
        return self.norm(add("Add", output, value), f"{name}.output.LayerNorm")

    def gelu(self, value: str) -> str:
        """Source: Hendrycks & Gimpel (2016), Gaussian Error Linear Units, the exact form."""
        add, keep = self.graph.add, self.graph.keep
        erf = add("Erf", add("Div", value, keep("sqrt_2", np.array(2**0.5, np.float32))))
        upper = add("Add", erf, keep("one", np.array(1.0, np.float32)))
        return add("Mul", add("Mul", value, upper), keep("half", np.array(0.5, np.float32)))

    def layer(self, value: str, number: int, mask: str) -> str:
        name = f"encoder.layer.{number}"
        attended = self.attention(value, f"{name}.attention", mask)
        inner = self.gelu(self.linear(attended, f"{name}.intermediate.dense"))
        output = self.linear(inner, f"{name}.output.dense")
        return self.norm(self.graph.add("Add", output, attended), f"{name}.output.LayerNorm")

    def pooled(self, hidden: str) -> str:
        """Sum the real tokens and scale to unit length: dividing by their number cancels."""
        add, keep = self.graph.add, self.graph.keep
        real = add("Cast", "attention_mask", to=TensorProto.FLOAT)
        wide = add("Unsqueeze", real, keep("axes_2", np.array([2], np.int64)))
        total = add(
            "ReduceSum",
            add("Mul", hidden, wide),
            keep("axes_1", np.array([1], np.int64)),
            keepdims=0,
        )
        length = add("ReduceL2", total, axes=[1], keepdims=1)
        least = keep("least_length", np.array(1e-12, np.float32))
        return add("Div", total, add("Max", length, least))

    def build(self) -> str:
        mask = self.mask()
        hidden = self.embeddings()
        for number in range(self.config.num_hidden_layers):
            hidden = self.layer(hidden, number, mask)
        return self.pooled(hidden)


def build(config: BertConfig, weights: Mapping[str, Array]) -> bytes:
    """Give the ONNX file of a sentence encoder; the same bytes for the same weights.

    Parameters
    ----------
    weights
        Tensors by their names in the original file, float32.

    Raises
    ------
    KeyError
        A tensor is missing.
    """
    bert = _Bert(config, weights)
    result = bert.build()
    bert.graph.nodes.append(helper.make_node("Identity", [result], ["sentence_embedding"]))
    ids = ["batch", "tokens"]
    graph = helper.make_graph(
        bert.graph.nodes,
        "sentence_encoder",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ids),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ids),
        ],
        [
            helper.make_tensor_value_info(
                "sentence_embedding", TensorProto.FLOAT, ["batch", config.hidden_size]
            )
        ],
        [numpy_helper.from_array(values, name) for name, values in bert.graph.tensors.items()],
    )
    model: ModelProto = helper.make_model(
        graph,
        producer_name="embedpipe",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
