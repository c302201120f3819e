"""The same encoder in other precisions. Inputs stay int64 and the output float32."""

from __future__ import annotations

import logging
from collections.abc import Callable

from onnx import ModelProto

from embedpipe.errors import ModelFilesError
from embedpipe.models.graph.files import LARGEST_FILE, first_line, weight_bytes
from embedpipe.models.graph.quantize import dynamic8, weights8
from embedpipe.models.manifest import Precision


def float16(model: ModelProto) -> ModelProto:
    """Hold weights and compute in float16, half the size: for GPUs."""
    # Numbers too small for float16 are raised to its smallest; it warns of each.
    logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Types are needed where an operator must stay in float32. In the graphs built here none must.
    known = len(model.graph.value_info) > 0 or model.producer_name == "embedpipe"
    # Inference of types goes through a single file.
    known = known or weight_bytes(model) > LARGEST_FILE
    converted: ModelProto = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=known
    )
    return converted


TRANSFORMS: dict[Precision, Callable[[ModelProto], ModelProto]] = {
    "fp32": lambda model: model,
    "fp16": float16,
    "w8": weights8,
    "int8": dynamic8,
}


def transformed(model: ModelProto, precision: Precision) -> ModelProto:
    """Give the model in a precision. Its weights must be in it, and it may be changed.

    Raises
    ------
    ModelFilesError
        A library cannot do it with this graph.
    """
    try:
        return TRANSFORMS[precision](model)
    except (ValueError, TypeError, KeyError, RuntimeError) as exc:
        raise ModelFilesError(f"no {precision} of this graph: {first_line(exc)}") from exc
