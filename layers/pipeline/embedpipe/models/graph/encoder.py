"""Transformer encoders as ONNX graphs, straight from their weights: no torch, no hub.

`input_ids` and `attention_mask`, int64, shape (batch, tokens), give `last_hidden_state`, float32,
shape (batch, tokens, width).

Notes
-----
Source of the architecture: Devlin et al. (2019), BERT, section 3, and Vaswani et al. (2017),
Attention Is All You Need, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TensorProto

from embedpipe.models.graph.architectures import Encoder
from embedpipe.models.graph.nodes import HIDDEN, IDS, MASK, Array, Nodes, trunk_of
from embedpipe.models.graph.relative import bias_by_distance

# exp() of it is 0 in float32, and it still fits float16.
MASKED = -10_000.0


class _Builder:
    def __init__(self, encoder: Encoder, weights: Mapping[str, Array]) -> None:
        self.encoder = encoder
        self.weights = weights
        self.nodes = Nodes()

    def weight(self, name: str) -> Array:
        return np.asarray(self.weights[name], dtype=np.float32)

    def linear(self, value: str, name: str, scale: float = 1.0) -> str:
        add, keep = self.nodes.add, self.nodes.keep
        weight = (self.weight(f"{name}.weight").T * scale).astype(np.float32)
        bias = (self.weight(f"{name}.bias") * scale).astype(np.float32)
        product = add("MatMul", value, keep(f"{name}.weight", weight))
        return add("Add", product, keep(f"{name}.bias", bias))

    def norm(self, value: str, name: str) -> str:
        keep = self.nodes.keep
        return self.nodes.add(
            "LayerNormalization",
            value,
            keep(f"{name}.weight", self.weight(f"{name}.weight")),
            keep(f"{name}.bias", self.weight(f"{name}.bias")),
            axis=-1,
            epsilon=self.encoder.epsilon,
        )

    def positions(self) -> str:
        """Give the row of the position table of each token.

        Counted from the mask, not from the shape: beside a GPU, shapes are computed on the CPU.
        """
        add, keep = self.nodes.add, self.nodes.keep
        axis = keep("axis_1", np.array(1, np.int64))
        real = MASK
        if (skipped := self.encoder.skipped_id) is not None:
            same = add("Equal", IDS, keep("skipped", np.array(skipped, np.int64)))
            real = add("Mul", MASK, add("Cast", add("Not", same), to=TensorProto.INT64))
        ordinal = add("CumSum", real, axis)
        # Padding gets the row before the first, as does a skipped token; where there is none, -1
        # takes the last row, and the mask takes it out again.
        if skipped is not None:
            ordinal = add("Mul", ordinal, real)
        return add("Add", ordinal, keep("first", np.array(self.encoder.first_position - 1)))

    def embeddings(self) -> str:
        add, keep = self.nodes.add, self.nodes.keep
        table = self.weight("embeddings.position_embeddings.weight")
        segments = "embeddings.token_type_embeddings.weight"
        if segments in self.weights:
            # Every input is one segment, so that segment's vector can stand in the position table.
            table = table + self.weight(segments)[0]
        rows = add("Gather", keep("embeddings.positions", table), self.positions())
        words = self.weight("embeddings.word_embeddings.weight")
        found = add("Gather", keep("embeddings.words", words), IDS)
        return self.norm(add("Add", found, rows), "embeddings.LayerNorm")

    def bias(self) -> str:
        """Give what is added to the scores of all layers: `MASKED` at padding, and distances."""
        add, keep = self.nodes.add, self.nodes.keep
        real = add("Cast", MASK, to=TensorProto.FLOAT)
        wide = add("Unsqueeze", real, self.nodes.axes(1, 2))
        padding = add("Sub", self.nodes.number(1.0), wide)
        mask = add("Mul", padding, self.nodes.number(MASKED))
        if (buckets := self.encoder.relative_buckets) is None:
            return mask
        table = bias_by_distance(
            self.weight("encoder.relative_attention_bias.weight"),
            longest=len(self.weight("embeddings.position_embeddings.weight")),
            buckets=buckets,
        )
        return add("Add", self.distances(keep("distances", table), len(table) // 2), mask)

    def distances(self, table: str, zero: int) -> str:
        """Look up the bias of each pair of places, shape (1, heads, tokens, tokens)."""
        add, keep = self.nodes.add, self.nodes.keep
        one_row = add("Slice", MASK, keep("begin", np.array([0])), keep("end", np.array([1])))
        ones = add("Add", add("Mul", one_row, keep("zero", np.array(0))), keep("one", np.array(1)))
        places = add("CumSum", ones, keep("axis_1", np.array(1, np.int64)))
        from_each = add("Unsqueeze", places, self.nodes.axes(2))
        to_each = add("Unsqueeze", places, self.nodes.axes(1))
        distance = add("Sub", to_each, from_each)
        row = add("Add", distance, keep("middle", np.array(zero)))
        return add("Transpose", add("Gather", table, row), perm=[0, 3, 1, 2])

    def attention(self, value: str, layer: str, bias: str) -> str:
        add, keep, names = self.nodes.add, self.nodes.keep, self.encoder.names
        width, heads = self.encoder.width, self.encoder.heads
        split = keep("split", np.array([0, 0, heads, width // heads], np.int64))

        def head(part: str, order: list[int], scale: float = 1.0) -> str:
            projected = self.linear(value, f"{layer}.{part}", scale)
            return add("Transpose", add("Reshape", projected, split), perm=order)

        # Scaling the query's weights once saves scaling every score.
        query = head(names.query, [0, 2, 1, 3], (width // heads) ** -0.5)
        scores = add("MatMul", query, head(names.key, [0, 2, 3, 1]))
        shares = add("Softmax", add("Add", scores, bias), axis=-1)
        mixed = add("MatMul", shares, head(names.value, [0, 2, 1, 3]))
        merged = add(
            "Reshape",
            add("Transpose", mixed, perm=[0, 2, 1, 3]),
            keep("merge", np.array([0, 0, width], np.int64)),
        )
        output = self.linear(merged, f"{layer}.{names.merge}")
        return self.norm(add("Add", output, value), f"{layer}.{names.attention_norm}")

    def activation(self, value: str) -> str:
        """Source: Hendrycks & Gimpel (2016), Gaussian Error Linear Units, both forms."""
        add, number = self.nodes.add, self.nodes.number
        if self.encoder.activation == "relu":
            return add("Relu", value)
        if self.encoder.activation == "gelu":
            inner = add("Erf", add("Div", value, number(2**0.5)))
        else:
            cube = add("Mul", add("Mul", value, value), value)
            sum_ = add("Add", value, add("Mul", cube, number(0.044715)))
            inner = add("Tanh", add("Mul", sum_, number((2 / np.pi) ** 0.5)))
        upper = add("Add", inner, number(1.0))
        return add("Mul", add("Mul", value, upper), number(0.5))

    def layer(self, value: str, number: int, bias: str) -> str:
        names = self.encoder.names
        layer = names.layer.format(number)
        attended = self.attention(value, layer, bias)
        inner = self.activation(self.linear(attended, f"{layer}.{names.inner}"))
        output = self.linear(inner, f"{layer}.{names.outer}")
        return self.norm(self.nodes.add("Add", output, attended), f"{layer}.{names.output_norm}")

    def build(self) -> ModelProto:
        bias = self.bias()
        hidden = self.embeddings()
        for number in range(self.encoder.layers):
            hidden = self.layer(hidden, number, bias)
        self.nodes.end(hidden, HIDDEN)
        return trunk_of(self.nodes, self.encoder.width)


def build(encoder: Encoder, weights: Mapping[str, Array]) -> ModelProto:
    """Give the graph of an encoder; the same for the same weights.

    Parameters
    ----------
    weights
        Tensors by their names in the original file.

    Raises
    ------
    KeyError
        A tensor is missing.
    """
    return _Builder(encoder, weights).build()


def longest_input(encoder: Encoder, weights: Mapping[str, Array]) -> int:
    """Give how many tokens the position table has rows for."""
    return len(weights["embeddings.position_embeddings.weight"]) - encoder.first_position
