"""Graphs that others made: checked, cut down to the output that is needed, and completed here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto, ValueInfoProto

from embedpipe.errors import ModelFilesError
from embedpipe.models.graph.files import locations
from embedpipe.models.graph.nodes import HIDDEN, IDS, MASK, SENTENCE
from embedpipe.models.graph.tail import LEAST_OPSET
from embedpipe.models.untrusted import child

#: Where exporters put the graph, the first that is there.
PLACES = ("onnx/model.onnx", "model.onnx")
_INPUTS = frozenset({IDS, MASK, "token_type_ids"})
_HIDDEN = (HIDDEN, "token_embeddings")


@dataclass(frozen=True)
class Foreign:
    """A graph file that can be used.

    Attributes
    ----------
    files
        The graph, and the files with its weights.
    output
        Which of its outputs is used.
    is_pooled
        Whether that is one vector per input.
    dimensions
        Length of its vectors, None when the file does not say.
    """

    files: tuple[Path, ...]
    output: str
    is_pooled: bool
    dimensions: int | None

    def trunk(self) -> ModelProto:
        """Read it with its weights, the other outputs left out."""
        model = onnx.load(self.files[0])
        kept = [value for value in model.graph.output if value.name == self.output]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        return model


def find(folder: Path) -> Path | None:
    """Give the graph of a directory, None when it has none."""
    for place in PLACES:
        if (folder / place).exists():
            return child(folder, place)
    return None


def read(path: Path) -> Foreign:
    """Check a graph file, its weights not read yet.

    Raises
    ------
    ModelFilesError
        It is no such file, its weights lie elsewhere, or what it takes and gives is not what a
        sentence encoder does.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError):
        raise ModelFilesError(f"{path.name} is not an ONNX file") from None
    data = [child(path.parent, name) for name in sorted(locations(model))]
    _check_opset(model, path.name)
    _check_inputs(model, path.name)
    output = _output(model, path.name)
    shape = output.type.tensor_type.shape.dim
    return Foreign(
        files=(path, *data),
        output=output.name,
        is_pooled=_is_pooled(output),
        dimensions=shape[-1].dim_value or None if shape else None,
    )


def _check_opset(model: ModelProto, name: str) -> None:
    versions = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    if max(versions, default=0) < LEAST_OPSET:
        raise ModelFilesError(f"{name} is of an operator set below {LEAST_OPSET}; export it again")


def _check_inputs(model: ModelProto, name: str) -> None:
    # Before version 4 of the format, weights stood among the inputs.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in weights}
    if unknown := sorted(inputs.keys() - _INPUTS):
        raise ModelFilesError(f"{name} takes {', '.join(unknown)}, which nothing here gives")
    if missing := [one for one in (IDS, MASK) if one not in inputs]:
        raise ModelFilesError(f"{name} does not take {' and '.join(missing)}")
    for one, value in inputs.items():
        if value.type.tensor_type.elem_type != TensorProto.INT64:
            raise ModelFilesError(f"{name}: {one} must be int64")
        if any(axis.HasField("dim_value") for axis in value.type.tensor_type.shape.dim):
            raise ModelFilesError(f"{name}: {one} is of a fixed shape; export it with dynamic axes")


def _output(model: ModelProto, name: str) -> ValueInfoProto:
    """Choose the hidden states where there are any: pooling is then that of the other files."""
    outputs = list(model.graph.output)
    hidden = [one for one in outputs if not _is_pooled(one)]
    named = [one for one in hidden if one.name in _HIDDEN]
    pooled = [one for one in outputs if one.name == SENTENCE] or [
        one for one in outputs if _is_pooled(one)
    ]
    chosen: list[ValueInfoProto] = (named or (hidden if len(hidden) == 1 else []) or pooled)[:1]
    if not chosen:
        raise ModelFilesError(
            f"{name} gives {', '.join(one.name for one in outputs)}, and neither "
            f"{HIDDEN} nor {SENTENCE}"
        )
    if chosen[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ModelFilesError(f"{name}: {chosen[0].name} must be float32")
    return chosen[0]


def _is_pooled(output: ValueInfoProto) -> bool:
    rank = len(output.type.tensor_type.shape.dim)
    return rank == 2 or (rank == 0 and output.name == SENTENCE)
