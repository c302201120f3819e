"""A prepared model on ONNX Runtime, on the CPU or a CUDA device, whichever was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedpipe.adapters.embedders.local import Ints, LocalEmbedder
from embedpipe.adapters.embedders.session import Provider, open_session
from embedpipe.domain.pooling import Floats
from embedpipe.models.directory import FP32, ModelDirectory
from embedpipe.ports.models import Tuning


class OnnxEmbedder(LocalEmbedder):
    """A loaded model. Threads may call it at the same time; they share its session.

    Parameters
    ----------
    provider
        Where to compute. There is no fallback to another one.
    precision
        One that the model was accepted in; None takes the best for the provider.
    threads
        Threads of one run on the CPU; 0 means all cores.
    tuning
        What was measured; its threads are taken where `threads` is 0.

    Raises
    ------
    EmbedderUnavailableError
        The provider cannot be used on this machine.
    ModelFilesError
        A file is not the pinned one, or there is none of this precision.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        *,
        provider: Provider,
        precision: str | None = None,
        threads: int = 0,
        tuning: Tuning | None = None,
    ) -> None:
        tuning = tuning or Tuning()
        precision = precision or best_precision(directory, provider)
        super().__init__(directory, device=provider, precision=precision, tuning=tuning)
        graph = directory.graph(precision)
        self._session = open_session(graph, provider, threads=threads or tuning.threads)
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._output = self._session.get_outputs()[0].name
        self._is_bound = provider == "cuda"
        self._warm_up()

    def _run(self, ids: Ints, mask: Ints) -> Floats:
        feeds = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self._inputs:
            feeds["token_type_ids"] = np.zeros_like(ids)
        output: Any
        if not self._is_bound:
            [output] = self._session.run([self._output], feeds)
        else:
            # Only what is bound is copied, once each way; a binding belongs to one run.
            binding = self._session.io_binding()
            for name, values in feeds.items():
                binding.bind_cpu_input(name, values)
            binding.bind_output(self._output, "cpu")
            self._session.run_with_iobinding(binding)
            [output] = binding.copy_outputs_to_cpu()
        return np.asarray(output)


def best_precision(directory: ModelDirectory, provider: Provider) -> str:
    """Give fp16 on CUDA where the model has it, else fp32."""
    return "fp16" if provider == "cuda" and "fp16" in directory.precisions else FP32
