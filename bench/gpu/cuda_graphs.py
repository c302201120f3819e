"""Batches of one shape with and without a CUDA graph.

A graph replays what was recorded, for one shape and one place in memory, and saves the launches of
its kernels one by one. The worker does without: its shapes are endless, each would be recorded
anew, and a session that records cannot be run by two streams. This says what that costs: little
where batches are large, as launches then take a small part of the time.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from embedpipe.adapters.embedders import cuda
from embedpipe.adapters.embedders.onnx import best_precision
from embedpipe.models.directory import ModelDirectory

SHAPES = [(1, 16), (8, 32), (64, 64), (64, 256), (256, 256)]
_WARM_UP = 5


def compare(directory: ModelDirectory, seconds: float) -> list[dict[str, Any]]:
    """Measure some shapes; a failure of the runtime is told in place of a figure."""
    rows = []
    print("\nrows  tokens  plain tokens/s  with a CUDA graph")
    for shape in SHAPES:
        row: dict[str, Any] = {"rows": shape[0], "tokens": shape[1]}
        for name, is_recorded in (("plain", False), ("graph", True)):
            try:
                row[name] = _tokens_per_s(directory, shape, seconds, is_recorded=is_recorded)
            # What a runtime raises here is a result as well.
            except Exception as error:  # noqa: BLE001
                row[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        print(f"{shape[0]:4}  {shape[1]:6}  {_shown(row['plain']):>14}  {_shown(row['graph'])}")
        rows.append(row)
    return rows


def _tokens_per_s(
    directory: ModelDirectory, shape: tuple[int, int], seconds: float, *, is_recorded: bool
) -> float:
    import onnxruntime

    cuda.preload()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(
        str(directory.graph(best_precision(directory, "cuda"))),
        options,
        providers=[("CUDAExecutionProvider", {"enable_cuda_graph": str(int(is_recorded))})],
        enable_fallback=0,
    )
    on_device = onnxruntime.OrtValue.ortvalue_from_numpy
    ones = np.ones(shape, np.int64)
    binding = session.io_binding()
    held = []
    for value in session.get_inputs():
        held.append(on_device(np.zeros_like(ones) if "type" in value.name else ones, "cuda", 0))
        binding.bind_ortvalue_input(value.name, held[-1])
    output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
        [shape[0], directory.info.dimensions], np.float32, "cuda", 0
    )
    binding.bind_ortvalue_output(session.get_outputs()[0].name, output)
    for _ in range(_WARM_UP):
        session.run_with_iobinding(binding)
    output.numpy()
    began, runs = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        session.run_with_iobinding(binding)
        runs += 1
    output.numpy()
    return runs * shape[0] * shape[1] / (time.perf_counter() - began)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}"
