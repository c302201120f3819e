"""Sessions of ONNX Runtime, on the device that was asked for and on no other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from embedpipe.adapters.embedders import cuda
from embedpipe.errors import EmbedderUnavailableError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

Provider = Literal["cpu", "cuda"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Memory grows by what is asked for and not to the next power of two: models share the device.
_CUDA_OPTIONS = {"arena_extend_strategy": "kSameAsRequested"}
_PROVIDERS: dict[Provider, list[Any]] = {"cpu": [CPU], "cuda": [(CUDA, _CUDA_OPTIONS)]}
_NAMES: dict[Provider, str] = {"cpu": CPU, "cuda": CUDA}
# On a CPU the fused kernel is a plain loop, and costs a seventh of the whole; the two that it
# stands for are not.
_DISABLED: dict[Provider, list[str]] = {"cpu": ["SkipLayerNormFusion"], "cuda": []}


def open_session(graph: Path | bytes, provider: Provider, *, threads: int = 0) -> InferenceSession:
    """Load a graph. Threads may run it at the same time.

    Parameters
    ----------
    threads
        Threads of one run on the CPU, the caller's included; 0 means all cores.

    Raises
    ------
    EmbedderUnavailableError
        The provider cannot be used on this machine; says what is missing.
    """
    import onnxruntime

    if provider == "cuda":
        cuda.preload()
    if _NAMES[provider] not in onnxruntime.get_available_providers():
        raise EmbedderUnavailableError(
            f"this ONNX Runtime is built without {provider}: install onnxruntime-gpu instead of "
            "onnxruntime"
        )
    try:
        session = onnxruntime.InferenceSession(
            graph if isinstance(graph, bytes) else str(graph),
            sess_options=_options(provider, threads),
            providers=_PROVIDERS[provider],
            disabled_optimizers=_DISABLED[provider],
            # Otherwise a failure of the device, at the start or later, moves the model to the CPU.
            enable_fallback=0,
        )
    except Exception as exc:
        if provider == "cpu":
            raise
        raise EmbedderUnavailableError(
            f"no CUDA device can be used, and no other was allowed: {cuda.missing()}"
        ) from exc
    # ONNX Runtime only prints a line when a provider cannot start, and goes on with the CPU.
    if session.get_providers()[0] != _NAMES[provider]:
        raise EmbedderUnavailableError(f"ONNX Runtime did not start {provider}: {cuda.missing()}")
    return session


def check_provider(provider: Provider) -> None:
    """Compute something small on a device. Raises EmbedderUnavailableError, saying what is missing.

    Before any model is loaded, so that a task without its device ends before it takes a message.
    """
    import numpy as np

    session = open_session(_SUM, provider)
    values = np.ones(4, np.float32)
    try:
        [total] = session.run(None, {"x": values})
    except Exception as exc:
        raise EmbedderUnavailableError(f"{provider} does not compute") from exc
    if total.tolist() != [2.0] * 4:
        raise EmbedderUnavailableError(f"{provider} computes wrongly")


def _options(provider: Provider, threads: int) -> SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # A CUDA device needs no threads beside the caller's.
    options.intra_op_num_threads = 1 if provider == "cuda" else threads
    # Spinning threads take the cores from whoever shares them, and speed halves.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A pattern is kept for every shape ever seen, and shapes here are endless.
    options.enable_mem_pattern = False
    if provider == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


# y = x + x as an ONNX file, IR version 8, opset 17.
_SUM = bytes.fromhex(
    "080812003a370a0e0a01780a017812017922034164641201675a100a0178120b0a09080112050a0312016e62100a01"
    "79120b0a09080112050a0312016e42040a001011"
)
