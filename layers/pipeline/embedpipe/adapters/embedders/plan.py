"""How one model is to be run on this machine: library, precision, and what there is to choose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from embedpipe.adapters.embedders import cuda, machine, openvino
from embedpipe.adapters.embedders.local import LocalEmbedder
from embedpipe.adapters.embedders.onnx import OnnxEmbedder, best_precision
from embedpipe.adapters.embedders.session import Provider
from embedpipe.adapters.embedders.tuning import Space
from embedpipe.adapters.embedders.tuning_file import Circumstance
from embedpipe.domain.tuning import Arm, cpu_arms
from embedpipe.errors import EmbedderUnavailableError, ModelFilesError
from embedpipe.models.directory import FP32, TOKENIZER, ModelDirectory
from embedpipe.models.manifest import Precision
from embedpipe.ports.models import Tuning

#: What is taken without a measurement: small batches that fit a CPU's cache, large ones for a GPU.
USUAL: dict[Provider, Tuning] = {
    "cpu": Tuning(max_batch_tokens=512, overhead_tokens=16),
    "cuda": Tuning(max_batch_tokens=16_384, overhead_tokens=2048, threads=1),
}
_BUDGETS: dict[Provider, list[int]] = {
    "cpu": [1 << power for power in range(6, 13)],
    "cuda": [1 << power for power in range(10, 19)],
}
# A mix of so many tokens is planned as well as a larger one, and sooner.
_MOST_PLANNED: dict[Provider, int] = {"cpu": 32_768, "cuda": 262_144}
# Above this, each way to share the cores would take the memory of a large model once more.
_LARGE_GRAPH_BYTES = 1_000_000_000
# A session takes its weights, a second time in the order that the processor likes, and some room.
_BYTES_PER_GRAPH_BYTE = 1.5
# By which precision's limits vectors are judged. A GPU multiplies float32 with less than that.
_JUDGED_AS: dict[str, Precision] = {
    "fp32": "fp16",
    "fp16": "fp16",
    "bf16": "fp16",
    "w8": "w8",
    "int8": "int8",
}


@dataclass(frozen=True)
class Runtime:
    """What settings say about computing.

    Attributes
    ----------
    precision
        None takes the best for the provider that the model has.
    streams, threads, max_batch_tokens
        0 or None leaves it to the measurement.
    tune_s
        How long a measurement may take; 0 takes what is usual.
    round_tokens
        Tokens that the worker plans at once.
    """

    provider: Provider
    precision: str | None = None
    streams: int = 0
    threads: int = 0
    max_batch_tokens: int | None = None
    tune_s: float = 5.0
    round_tokens: int = 16_384


@dataclass(frozen=True)
class Plan:
    """One model, with what the settings say about it."""

    directory: ModelDirectory
    runtime: Runtime
    cores: int = field(default_factory=machine.cores)

    @property
    def precision(self) -> str:
        """The precision asked for, or the best there is."""
        return self.runtime.precision or best_precision(self.directory, self.runtime.provider)

    @property
    def expected_bytes(self) -> int:
        """What it will take, about, from the size of its graph."""
        return round(self._graph_bytes * _BYTES_PER_GRAPH_BYTE)

    def used_bytes(self) -> int:
        """Give what the process, or on CUDA everybody on the device, takes now; 0 if unknown."""
        return cuda.used_bytes() if self.runtime.provider == "cuda" else machine.resident_bytes()

    def usual(self) -> Tuning:
        """Give what is taken without a measurement."""
        arm = self._arms()[0]
        usual = USUAL[self.runtime.provider]
        return Tuning(
            max_batch_tokens=self.runtime.max_batch_tokens or usual.max_batch_tokens,
            overhead_tokens=usual.overhead_tokens,
            streams=arm.streams,
            threads=arm.threads,
        )

    def space(self) -> Space:
        """Give what a measurement may choose from."""
        provider, wanted = self.runtime.provider, self.runtime.max_batch_tokens
        return Space(
            arms=self._arms(),
            budgets=[wanted] if wanted else _BUDGETS[provider],
            usual_budget=wanted or USUAL[provider].max_batch_tokens,
            round_tokens=max(self._round_tokens, wanted or 0),
        )

    def circumstance(self) -> Circumstance:
        """Give everything that a measurement depends on."""
        manifest, runtime = self.directory.manifest, self.runtime
        return Circumstance(
            model_id=manifest.model_id,
            fingerprint=manifest.fingerprint,
            graph_sha256=manifest.files[self._graph_files[0]].sha256,
            precision=self.precision,
            provider=runtime.provider,
            runtime=self._library(),
            device=cuda.device_name() if runtime.provider == "cuda" else machine.cpu_name(),
            cores=self.cores,
            given=f"{runtime.streams} streams, {runtime.threads} threads, "
            f"{runtime.max_batch_tokens or 0} of {self._round_tokens} tokens",
        )

    def open(self, tuning: Tuning) -> LocalEmbedder:
        """Load it. Raises ModelFilesError, EmbedderUnavailableError."""
        if self.precision != openvino.BF16:
            return OnnxEmbedder(
                self.directory,
                provider=self.runtime.provider,
                precision=self.precision,
                tuning=tuning,
            )
        if self.runtime.provider != "cpu":
            raise EmbedderUnavailableError("bf16 is computed on CPUs only; cuda has fp16")
        return openvino.OpenVinoEmbedder(self.directory, tuning=tuning)

    @property
    def is_shared(self) -> bool:
        """Whether one loaded model serves any number of streams."""
        return self.runtime.provider == "cuda"

    @property
    def busy_clock(self) -> Callable[[], float] | None:
        """Seconds that a thread computes, where it computes what it asks for itself."""
        is_own = self.runtime.provider == "cpu" and self.precision != openvino.BF16
        return time.thread_time if is_own else None

    def check(self, embedder: LocalEmbedder) -> None:
        """Compare its vectors with those of float32 on the CPU. Raises ModelFilesError.

        Where a graph is computed as it was when the model was prepared, that is not done again.
        """
        if self.runtime.provider == "cpu" and self.precision != openvino.BF16:
            return
        from embedpipe.models import acceptance

        inputs = acceptance.token_ids(
            self.directory.file(TOKENIZER), max_tokens=self.directory.info.max_tokens
        )
        reference = OnnxEmbedder(self.directory, provider="cpu", precision=FP32, threads=self.cores)
        judged_as = _JUDGED_AS[self.precision]
        judgement = acceptance.judge(
            judged_as,
            embedder.embed,
            inputs,
            reference=acceptance.alone(reference.embed, inputs),
            allow_batch_variance=judged_as in ("w8", "int8"),
        )
        if not judgement.accepted:
            raise ModelFilesError(
                f"{self.precision} on this device is refused: {'; '.join(judgement.reasons)}"
            )

    @property
    def _round_tokens(self) -> int:
        return min(self.runtime.round_tokens, _MOST_PLANNED[self.runtime.provider])

    @property
    def _graph_files(self) -> tuple[str, ...]:
        held_as = FP32 if self.precision == openvino.BF16 else self.precision
        return self.directory.manifest.graph_files(held_as)

    @property
    def _graph_bytes(self) -> int:
        return sum(self.directory.manifest.files[name].bytes for name in self._graph_files)

    def _arms(self) -> list[Arm]:
        streams, threads = self.runtime.streams, self.runtime.threads
        if self.runtime.provider == "cuda":
            return [Arm(one, 1) for one in ([streams] if streams else [1, 2])]
        if streams or threads:
            streams = streams or max(self.cores // threads, 1)
            return [Arm(streams, threads or max(self.cores // streams, 1))]
        arms = cpu_arms(self.cores)
        return arms if self._graph_bytes <= _LARGE_GRAPH_BYTES else arms[:1]

    def _library(self) -> str:
        if self.precision == openvino.BF16:
            return f"openvino {openvino.runtime_version()}"
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"
