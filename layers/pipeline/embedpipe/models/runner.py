"""Compute the vectors of a graph while it is being judged, before a worker ever sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embedpipe.domain.pooling import Floats, normalize, pool
from embedpipe.errors import ModelFilesError
from embedpipe.models.manifest import Pooling

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Device = Literal["cpu", "cuda"]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Runner:
    """A loaded graph.

    Raises
    ------
    ModelFilesError
        ONNX Runtime cannot load it, or not on this device.
    """

    def __init__(self, graph: Path, pooling: Pooling, *, device: Device = "cpu") -> None:
        self._pooling = pooling
        self._session = _session(graph, device)
        self._inputs = {value.name for value in self._session.get_inputs()}

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Compute one batch, padded on the right.

        Returns
        -------
        Shape (inputs, dimensions), float32, unit length.
        """
        longest = max(map(len, token_ids))
        ids = np.zeros((len(token_ids), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, values in enumerate(token_ids):
            ids[row, : len(values)] = values
            mask[row, : len(values)] = 1
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        output = self._run({name: feeds[name] for name in self._inputs})
        if not self._pooling.in_graph:
            output = pool(output, mask, self._pooling.type)
        return normalize(output)

    def _run(self, feeds: dict[str, Any]) -> Floats:
        try:
            [output] = self._session.run(None, feeds)
        except Exception as exc:
            raise ModelFilesError(f"ONNX Runtime cannot run the graph: {_reason(exc)}") from exc
        return np.asarray(output, dtype=np.float32)


def _session(graph: Path, device: Device) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # What goes wrong is said by the exceptions.
    options.log_severity_level = 4
    # As the worker does it: spinning threads take the cores from whoever shares them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=[_PROVIDERS[device]], enable_fallback=0
        )
    except Exception as exc:
        raise ModelFilesError(f"ONNX Runtime cannot load the graph: {_reason(exc)}") from exc
    if session.get_providers()[0] != _PROVIDERS[device]:
        raise ModelFilesError(f"ONNX Runtime did not start {device}")
    return session


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
