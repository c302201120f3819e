"""A prepared model on OpenVINO: bfloat16 on CPUs that compute with it. An optional extra.

Its graph is the one in float32; the numbers are made shorter while it runs.
"""

from __future__ import annotations

from importlib import metadata
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from embedpipe.adapters.embedders.local import Ints, LocalEmbedder
from embedpipe.domain.pooling import Floats
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.models.directory import FP32, ModelDirectory
from embedpipe.ports.models import Tuning

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

BF16 = "bf16"
_HINTS = {FP32: "f32", BF16: "bf16"}
_DEVICE = "CPU"


class OpenVinoEmbedder(LocalEmbedder):
    """A loaded model. Threads may call it at the same time; beyond its streams they wait.

    Parameters
    ----------
    precision
        `bf16` or `fp32`.
    tuning
        Its streams and threads are what the model is compiled for.

    Raises
    ------
    EmbedderUnavailableError
        OpenVINO is not installed, or the processor does not compute in this precision.
    ModelFilesError
        A file is not the pinned one.
    """

    def __init__(
        self, directory: ModelDirectory, *, precision: str = BF16, tuning: Tuning | None = None
    ) -> None:
        tuning = tuning or Tuning()
        super().__init__(directory, device="cpu", precision=precision, tuning=tuning)
        compiled = _compiled(str(directory.graph(FP32)), precision, tuning)
        self._names = [port.get_any_name() for port in compiled.inputs]
        # A request has memory of its own for everything between input and output.
        self._requests: SimpleQueue[InferRequest] = SimpleQueue()
        for _ in range(tuning.streams):
            self._requests.put(compiled.create_infer_request())
        self._warm_up()

    def _run(self, ids: Ints, mask: Ints) -> Floats:
        feeds = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._names:
            feeds["token_type_ids"] = np.zeros_like(ids)
        request = self._requests.get()
        try:
            result = request.infer(feeds, share_inputs=True, share_outputs=True)
            # The request's own memory, which its next run overwrites.
            return np.array(result[0], dtype=np.float32)
        finally:
            self._requests.put(request)


def runtime_version() -> str:
    """Give the installed version. Raises EmbedderUnavailableError when there is none."""
    try:
        return metadata.version("openvino")
    except metadata.PackageNotFoundError:
        raise EmbedderUnavailableError(
            "bf16 needs the package openvino: install embedpipe[openvino]"
        ) from None


def _compiled(graph: str, precision: str, tuning: Tuning) -> CompiledModel:
    runtime_version()
    import openvino

    core = openvino.Core()
    if precision == BF16 and "BF16" not in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"):
        raise EmbedderUnavailableError("this processor does not compute in bfloat16")
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "NUM_STREAMS": str(tuning.streams),
        "PERFORMANCE_HINT": "THROUGHPUT" if tuning.streams > 1 else "LATENCY",
        # What is made for a shape is kept, and shapes here are endless: 400 MB by default, for 7 %.
        "CPU_RUNTIME_CACHE_CAPACITY": "256",
    }
    if tuning.threads:
        options["INFERENCE_NUM_THREADS"] = tuning.streams * tuning.threads
    return core.compile_model(core.read_model(graph), _DEVICE, options)
