from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models.graph.architectures import encoder_of
from embedpipe.models.graph.encoder import build
from embedpipe.models.graph.nodes import OPSET
from embedpipe.models.graph.tail import Tail, append
from onnx import ModelProto

from tests.tiny_model import CONFIG, DIMENSIONS, tiny_weights

Array = npt.NDArray[Any]
IDS = [2, 9, 30, 31, 34, 3]


def graph() -> ModelProto:
    trunk = build(encoder_of(CONFIG), tiny_weights())
    return append(trunk, Tail("mean"), dimensions=DIMENSIONS)


def session() -> Any:
    from onnxruntime import InferenceSession

    return InferenceSession(graph().SerializeToString(), providers=["CPUExecutionProvider"])


def compute(session: Any, ids: Array, mask: Array) -> Array:
    [vectors] = session.run(None, {"input_ids": ids, "attention_mask": mask})
    return np.asarray(vectors)


def expected(ids: list[int]) -> Array:
    """Compute the architecture in the plainest way, one input, float64."""
    weights = {name: values.astype(np.float64) for name, values in tiny_weights().items()}

    def linear(value: Array, name: str) -> Array:
        return np.asarray(value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    def norm(value: Array, name: str) -> Array:
        centred = value - value.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"])

    tables = [weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position")]
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    value = norm(tables[0][ids] + tables[1][: len(ids)] + segment, "embeddings.LayerNorm")
    for number in range(2):
        layer = f"encoder.layer.{number}"
        parts = [
            linear(value, f"{layer}.attention.self.{p}").reshape(len(ids), 2, 4).transpose(1, 0, 2)
            for p in ("query", "key", "value")
        ]
        scores = np.exp(parts[0] @ parts[1].transpose(0, 2, 1) / 2.0)
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ parts[2]
        output = linear(
            mixed.transpose(1, 0, 2).reshape(len(ids), 8), f"{layer}.attention.output.dense"
        )
        value = norm(output + value, f"{layer}.attention.output.LayerNorm")
        inner = linear(value, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        value = norm(linear(inner, f"{layer}.output.dense") + value, f"{layer}.output.LayerNorm")
    mean = value.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_the_graph_computes_bert_with_mean_pooling_and_unit_length() -> None:
    ids = np.array([IDS], dtype=np.int64)

    vectors = compute(session(), ids, np.ones_like(ids))

    np.testing.assert_allclose(vectors, [expected(IDS)], atol=2e-5)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("left", [True, False])
def test_padding_on_either_side_changes_nothing(left: bool) -> None:
    padding = ((0, 0), (4, 0) if left else (0, 4))
    ids = np.pad(np.array([IDS], dtype=np.int64), padding)
    mask = np.pad(np.ones((1, len(IDS)), dtype=np.int64), padding)

    vectors = compute(session(), ids, mask)

    np.testing.assert_allclose(vectors, [expected(IDS)], atol=2e-5)


def test_the_same_weights_give_the_same_bytes() -> None:
    first, second = (graph().SerializeToString(deterministic=True) for _ in range(2))

    assert first == second


def test_the_file_is_of_the_opset_we_say_and_takes_any_shape() -> None:
    model = graph()

    assert [opset.version for opset in model.opset_import] == [OPSET]
    shapes = [value.type.tensor_type.shape for value in model.graph.input]
    assert [[axis.dim_param for axis in shape.dim] for shape in shapes] == [["batch", "tokens"]] * 2


def test_no_operator_asks_for_a_shape_as_those_run_on_the_cpu_beside_a_gpu() -> None:
    model = graph()

    assert not {"Shape", "Size", "NonZero"} & {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "modernbert"},
        {"model_type": None},
        {"is_decoder": True},
        {"hidden_act": "silu"},
        {"num_attention_heads": 0},
        {"position_embedding_type": "relative_key"},
    ],
)
def test_another_architecture_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFilesError):
        encoder_of({**CONFIG, **change})


def test_missing_weights_are_named() -> None:
    weights = tiny_weights()
    del weights["encoder.layer.1.output.dense.bias"]

    with pytest.raises(KeyError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        build(encoder_of(CONFIG), weights)
