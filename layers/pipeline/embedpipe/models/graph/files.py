"""Graphs in files: written, with their weights beside them where one file cannot hold them."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto, checker
from onnx.external_data_helper import convert_model_to_external_data, write_external_data_tensors

from embedpipe.errors import ModelFilesError
from embedpipe.models.manifest import GRAPH, Precision

#: A file in the format of ONNX ends at 2 GiB; room is left for what is not weights.
LARGEST_FILE = 1_900_000_000
# Smaller tensors stay in the graph: shapes and axes must.
_LEAST_EXTERNAL_BYTES = 1024


def graph_name(precision: Precision) -> str:
    """Give the name of the graph of a precision."""
    return GRAPH if precision == "fp32" else f"model.{precision}.onnx"


def save(model: ModelProto, path: Path, *, largest: int = LARGEST_FILE) -> tuple[str, ...]:
    """Write a model; the same bytes for the same model.

    Tensors that refer to a file already go on doing so.

    Returns
    -------
    Names of the files with its weights beside it, none when it is all in one.

    Raises
    ------
    ModelFilesError
        It is not valid.
    """
    if weight_bytes(model) > largest:
        convert_model_to_external_data(
            model, location=f"{path.name}_data", size_threshold=_LEAST_EXTERNAL_BYTES
        )
        write_external_data_tensors(model, str(path.parent))
    path.write_bytes(model.SerializeToString(deterministic=True))
    try:
        checker.check_model(str(path))
    except checker.ValidationError as exc:
        raise ModelFilesError(f"{path.name} is not valid: {first_line(exc)}") from None
    return tuple(sorted(locations(model)))


def weight_bytes(model: ModelProto) -> int:
    """Give how large the weights in a model are."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def locations(model: ModelProto) -> set[str]:
    """Give the names of the files that hold weights of a model, as it says them."""
    found = set()
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            found |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return found


def first_line(error: Exception) -> str:
    """Give the beginning of a library's message, which may go on for pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
