"""Judge the graphs of a model directory again, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from embedpipe.models.acceptance import (
    LEAST_INVARIANCE,
    Judgement,
    alone,
    judge,
    token_ids,
)
from embedpipe.models.directory import FP32, TOKENIZER, ModelDirectory, Precision
from embedpipe.models.golden import compare
from embedpipe.models.runner import Device, Runner


def rejudge(
    directory: ModelDirectory,
    *,
    device: Device = "cpu",
    report: Callable[[str], None] = lambda _: None,
) -> Iterable[Judgement]:
    """Compare every graph with the one in float32 on the CPU, as when the model was added.

    A precision that was accepted although its vectors depend on the batch may go on doing so.

    Raises
    ------
    ModelFilesError
        A file is not the pinned one, a graph cannot be run, or the vectors are not the known ones.
    """
    manifest = directory.manifest
    compare(directory)
    inputs = token_ids(directory.file(TOKENIZER), max_tokens=manifest.max_tokens)
    report(f"{FP32} on the CPU: computing {len(inputs)} texts alone")
    reference = alone(_runner(directory, FP32, "cpu").embed, inputs)
    for precision in directory.precisions:
        report(f"{precision}: computing them alone and in batches")
        variant = manifest.variants.get(precision)
        yield judge(
            precision,
            _runner(directory, precision, device).embed,
            inputs,
            reference=reference,
            allow_batch_variance=variant is not None
            and variant.batch_invariance < LEAST_INVARIANCE,
        )


def _runner(directory: ModelDirectory, precision: Precision, device: Device) -> Runner:
    graph: Path = directory.graph(precision)
    return Runner(graph, directory.manifest.pooling, device=device)
