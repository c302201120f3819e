"""A prepared model on ONNX Runtime, on the CPU or a CUDA device, whichever was asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from embedpipe.domain.pooling import Floats, normalize, pool
from embedpipe.errors import BadVectorError, EmbedderUnavailableError, PoisonChunkError
from embedpipe.models.directory import GRAPH, ModelDirectory
from embedpipe.ports.models import ModelInfo, Tuning

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

Provider = Literal["cpu", "cuda"]
Ints = npt.NDArray[np.int64]

_CUDA = "CUDAExecutionProvider"
_PROVIDERS: dict[Provider, list[str]] = {"cpu": ["CPUExecutionProvider"], "cuda": [_CUDA]}
# float16 arithmetic gives lengths within 1e-3 of 1.
UNIT_TOLERANCE = 5e-3


class OnnxEmbedder:
    """A loaded model.

    Parameters
    ----------
    provider
        Where to compute. There is no fallback to another one.
    threads
        Threads of one run on the CPU; 0 means all cores.

    Attributes
    ----------
    warm_up_s
        Seconds that the first run took, with an input of `max_tokens`.

    Raises
    ------
    EmbedderUnavailableError
        The provider cannot be used on this machine.
    ModelFilesError
        A file is not the pinned one.
    """

    def __init__(self, directory: ModelDirectory, *, provider: Provider, threads: int = 0) -> None:
        self._manifest = directory.manifest
        self._model = directory.info
        for name in directory.manifest.files:
            directory.file(name)
        self._session = _session(str(directory.path / GRAPH), provider, threads)
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._output = self._session.get_outputs()[0].name
        self._on_device = provider == "cuda"
        started = time.perf_counter()
        self.embed([[0] * self._model.max_tokens])
        self.warm_up_s = time.perf_counter() - started

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        return self._model

    @property
    def tuning(self) -> Tuning:
        """How it is fastest on this device."""
        return Tuning()

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Compute one inference batch, padded to its longest input.

        Raises
        ------
        PoisonChunkError
            An input is empty or longer than the model takes.
        BadVectorError
            A vector is not finite or not of unit length.
        """
        if not token_ids:
            return np.empty((0, self._model.dimensions), dtype=np.float32)
        ids, mask = self._padded(token_ids)
        output = self._run(ids, mask)
        if not self._manifest.pooling.in_graph:
            output = pool(output, mask, self._manifest.pooling.type)
            output = normalize(output) if self._manifest.normalize else output
        return self._checked(output, len(token_ids))

    def _padded(self, token_ids: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
        lengths = [len(ids) for ids in token_ids]
        longest = max(lengths)
        if min(lengths) == 0 or longest > self._model.max_tokens:
            raise PoisonChunkError(f"an input must have 1 to {self._model.max_tokens} tokens")
        ids = np.zeros((len(lengths), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, (values, length) in enumerate(zip(token_ids, lengths, strict=True)):
            ids[row, :length] = values
            mask[row, :length] = 1
        return ids, mask

    def _run(self, ids: Ints, mask: Ints) -> Floats:
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feeds = {name: values for name, values in feeds.items() if name in self._inputs}
        output: Any
        if not self._on_device:
            [output] = self._session.run([self._output], feeds)
        else:
            binding = self._session.io_binding()
            for name, values in feeds.items():
                binding.bind_cpu_input(name, values)
            binding.bind_output(self._output, "cpu")
            self._session.run_with_iobinding(binding)
            [output] = binding.copy_outputs_to_cpu()
        return np.asarray(output, dtype=np.float32)

    def _checked(self, vectors: Floats, count: int) -> Floats:
        if vectors.shape != (count, self._model.dimensions):
            raise BadVectorError(f"the model gave vectors of shape {vectors.shape}")
        lengths = np.linalg.norm(vectors, axis=1)
        # Said this way round, NaN and infinity are refused as well.
        good = np.abs(lengths - 1.0) <= UNIT_TOLERANCE if self._manifest.normalize else lengths > 0
        if not np.all(good & np.isfinite(lengths)):
            raise BadVectorError
        return vectors


def _session(graph: str, provider: Provider, threads: int) -> InferenceSession:
    import onnxruntime

    if provider == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        # The CUDA libraries are Python packages, which the dynamic linker does not search.
        onnxruntime.preload_dlls()
    if _PROVIDERS[provider][0] not in onnxruntime.get_available_providers():
        raise EmbedderUnavailableError(f"this ONNX Runtime is built without {provider}")
    try:
        session = onnxruntime.InferenceSession(
            graph,
            sess_options=_options(provider, threads),
            providers=_PROVIDERS[provider],
            # Otherwise a failure of the device, at the start or later, moves the model to the CPU.
            enable_fallback=0,
        )
    except Exception as exc:
        if provider == "cpu":
            raise
        raise EmbedderUnavailableError(
            "no CUDA device can be used, and no other was allowed"
        ) from exc
    # ONNX Runtime only prints a line when a provider cannot start, and goes on with the CPU.
    if session.get_providers()[0] != _PROVIDERS[provider][0]:
        raise EmbedderUnavailableError(f"ONNX Runtime did not start {provider}")
    return session


def _options(provider: Provider, threads: int) -> SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Spinning threads take the cores from whoever shares them, and speed halves.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A pattern is kept for every shape ever seen, and shapes here are endless.
    options.enable_mem_pattern = False
    if provider == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options
