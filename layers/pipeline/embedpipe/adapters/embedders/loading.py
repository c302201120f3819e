"""Load a prepared model the way it is fastest on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedpipe.adapters.embedders.local import LocalEmbedder
from embedpipe.adapters.embedders.plan import Plan, Runtime
from embedpipe.adapters.embedders.pool import Loaded
from embedpipe.adapters.embedders.tuning import Measurement
from embedpipe.adapters.embedders.tuning_file import TuningFiles
from embedpipe.domain.tuning import Arm
from embedpipe.models.directory import ModelDirectory
from embedpipe.ports.models import Embedder, Tuning
from embedpipe.stages.embed import is_memory_error

How = Literal["measured", "kept", "usual"]


@dataclass(frozen=True)
class LoadReport:
    """How a model was loaded.

    Attributes
    ----------
    how
        Whether the tuning was measured now, kept from an earlier start, or neither.
    load_s
        Seconds that all of it took.
    problem
        What did not go well and keeps nothing from working, for the log.
    """

    model_id: str
    precision: str
    device: str
    tuning: Tuning
    how: How
    load_s: float
    warm_up_s: float
    memory_bytes: int
    problem: str | None = None


class ModelLoader:
    """Loads models for a `ModelPool`.

    Parameters
    ----------
    directory
        Gives a model's directory with all its files; raises NotFoundError.
    models_dir
        Where measurements are kept.
    report
        Called after each load, by the thread that loaded.
    """

    def __init__(
        self,
        directory: Callable[[str], ModelDirectory],
        models_dir: Path,
        runtime: Runtime,
        *,
        report: Callable[[LoadReport], None] = lambda _: None,
    ) -> None:
        self._directory = directory
        self._files = TuningFiles(models_dir)
        self._runtime = runtime
        self._report = report

    def __call__(self, model_id: str) -> Loaded:
        """Load a model; measure it first where that was not done on this machine.

        Raises
        ------
        NotFoundError
            MODEL_NOT_FOUND.
        ModelFilesError
            A file is not the pinned one, or this machine computes other vectors from it.
        EmbedderUnavailableError
            The device or a library that it needs is not there.
        """
        began = time.perf_counter()
        plan = Plan(self._directory(model_id), self._runtime)
        before = plan.used_bytes()
        tuning, how, problem = self._tuning(plan)
        embedder = plan.open(tuning)
        if how == "usual":
            plan.check(embedder)
        fill(embedder)
        taken = max(plan.used_bytes() - before, plan.expected_bytes)
        report = LoadReport(
            model_id=model_id,
            precision=embedder.precision,
            device=embedder.device,
            tuning=tuning,
            how=how,
            load_s=time.perf_counter() - began,
            warm_up_s=embedder.warm_up_s,
            memory_bytes=taken,
            problem=problem,
        )
        self._report(report)
        return Loaded(embedder, embedder.precision, embedder.device, taken)

    def expect(self, model_id: str) -> int:
        """Give what a model will take at least. Raises NotFoundError."""
        return Plan(self._directory(model_id), self._runtime).expected_bytes

    def _tuning(self, plan: Plan) -> tuple[Tuning, How, str | None]:
        if not self._runtime.tune_s:
            return plan.usual(), "usual", None
        circumstance = plan.circumstance()
        kept = self._files.read(circumstance)
        if kept is not None:
            return kept, "kept", None
        tuning, share = measured(plan)
        return tuning, "measured", self._files.write(circumstance, tuning, share=share)


def measured(plan: Plan) -> tuple[Tuning, float]:
    """Measure a model, its vectors checked first; say how much of the machine it got.

    Raises what loading it raises.
    """
    plan.check(plan.open(plan.usual()))
    opened: list[LocalEmbedder] = []

    def open_arm(arm: Arm) -> LocalEmbedder:
        if not (opened and plan.is_shared):
            opened.append(plan.open(Tuning(streams=arm.streams, threads=arm.threads)))
        return opened[-1]

    measurement = Measurement(
        open_arm, plan.space(), limit_s=plan.runtime.tune_s, busy_clock=plan.busy_clock
    )
    return measurement.run(), measurement.share


def fill(embedder: Embedder) -> None:
    """Compute the largest batches, in all streams, so that what they take is taken now."""
    tuning, longest = embedder.tuning, embedder.model.max_tokens
    batch = [[0] * longest] * max(tuning.max_batch_tokens // longest, 1)
    with ThreadPoolExecutor(tuning.streams) as threads:
        for future in [threads.submit(embedder.embed, batch) for _ in range(tuning.streams)]:
            error = future.exception()
            # The worker makes its batches smaller then.
            if error is not None and not is_memory_error(error):
                raise error
