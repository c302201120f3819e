"""ONNX files as exporters write them, of the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from embedpipe.models.graph.architectures import encoder_of
from embedpipe.models.graph.encoder import build
from embedpipe.models.graph.tail import Tail, append
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.tiny_model import CONFIG, DIMENSIONS, tiny_weights


def an_export(*, is_pooled: bool = False) -> ModelProto:
    """Give hidden states, or vectors."""
    model = build(encoder_of(CONFIG), tiny_weights())
    model.producer_name = "pytorch"
    return append(model, Tail("mean"), dimensions=DIMENSIONS) if is_pooled else model


def with_input(
    model: ModelProto, name: str, *shape: Any, kind: int = TensorProto.INT64
) -> ModelProto:
    """Add an input that nothing uses."""
    model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    return model


def with_sum(model: ModelProto, name: str = "pooler_output") -> ModelProto:
    """Put an output of one vector per input before the hidden states."""
    shape: list[str | int] = ["batch", DIMENSIONS]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape), *model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "sum_axes"))
    model.graph.node.append(
        helper.make_node("ReduceSum", [outputs[1].name, "sum_axes"], [name], keepdims=0)
    )
    return model


def saved(model: ModelProto, path: Path, *, data: str | None = None) -> Path:
    """Write a file, with its weights in another one if that is named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is None:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=64)
    return path
