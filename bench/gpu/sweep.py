"""The measuring part of `python -m bench.gpu`, in the environment of the embed task."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embedpipe.adapters.embedders import cuda, machine
from embedpipe.adapters.embedders.loading import measured
from embedpipe.adapters.embedders.onnx import OnnxEmbedder
from embedpipe.adapters.embedders.plan import Plan, Runtime
from embedpipe.adapters.embedders.race import Work, rate
from embedpipe.adapters.embedders.session import Provider, check_provider
from embedpipe.adapters.embedders.tuning import planned
from embedpipe.errors import PipelineError
from embedpipe.models import acceptance
from embedpipe.models.directory import FP32, TOKENIZER, ModelDirectory
from embedpipe.ports.models import Tuning
from embedpipe.stages.embed import is_memory_error

from bench.gpu.cuda_graphs import compare as compare_cuda_graphs

MODEL_ID = "all-MiniLM-L6-v2"
ROUND_TOKENS = {"cuda": 131_072, "cpu": 16_384}
BUDGETS = {
    "cuda": [1 << power for power in range(10, 18)],
    "cpu": [1 << power for power in range(6, 13)],
}
STREAMS = {"cuda": [1, 2, 3], "cpu": [1, 2]}
OVERHEAD = {"cuda": 2048, "cpu": 16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.sweep")
    parser.add_argument("--provider", choices=["cuda", "cpu"], required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    provider: Provider = options.provider
    try:
        check_provider(provider)
    except PipelineError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 1
    directory = ModelDirectory.read(options.models_dir / MODEL_ID)
    results: dict[str, Any] = {"machine": describe(provider), "model_id": MODEL_ID}
    results["vectors"] = list(vectors(directory, provider))
    results["rates"] = list(rates(directory, provider, options.seconds))
    results["cuda_graphs"] = (
        compare_cuda_graphs(directory, options.seconds) if provider == "cuda" else []
    )
    results["chosen"] = list(chosen(directory, provider, options.seconds))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten to {options.out}")
    return 0 if all(row["accepted"] for row in results["vectors"]) else 1


def describe(provider: Provider) -> dict[str, Any]:
    """Say what is measured, and with what."""
    import onnxruntime

    found: dict[str, Any] = {
        "provider": provider,
        "onnxruntime": onnxruntime.__version__,
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
    }
    if provider == "cuda":
        driver = cuda.driver()
        found |= {
            "driver_cuda": driver.cuda_version,
            "gpus": [asdict(one) for one in driver.devices],
        }
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return found


def vectors(directory: ModelDirectory, provider: Provider) -> Iterator[dict[str, Any]]:
    """Compare each precision on the device with float32 on the CPU."""
    inputs = acceptance.token_ids(directory.file(TOKENIZER), max_tokens=directory.info.max_tokens)
    on_cpu = OnnxEmbedder(directory, provider="cpu", precision=FP32, threads=machine.cores())
    reference = acceptance.alone(on_cpu.embed, inputs)
    print("\nprecision  mean cosine  least cosine  alone and in a batch")
    for precision in directory.precisions:
        embedder = OnnxEmbedder(directory, provider=provider, precision=precision)
        found = acceptance.judge(
            "fp16" if precision == FP32 else precision, embedder.embed, inputs, reference=reference
        )
        row = {
            "precision": precision,
            "mean": found.similarity.mean,
            "least": found.similarity.min,
            "batch_invariance": found.batch_invariance,
            "accepted": found.accepted,
            "reasons": list(found.reasons),
        }
        verdict = "; ".join(found.reasons)
        print(
            f"{precision:9}  {row['mean']:11.7f}  {row['least']:12.7f}  "
            f"{row['batch_invariance']:.7f}  {verdict}"
        )
        yield row


def rates(
    directory: ModelDirectory, provider: Provider, seconds: float
) -> Iterator[dict[str, Any]]:
    """Measure tokens per second by precision, streams and budget."""
    print("\nprecision  streams " + "".join(f"{budget:>10,}" for budget in BUDGETS[provider]))
    for precision in directory.precisions:
        for streams in STREAMS[provider]:
            threads = max(machine.cores() // streams, 1) if provider == "cpu" else 1
            embedder = OnnxEmbedder(
                directory, provider=provider, precision=precision, threads=threads
            )
            print(f"{precision:9}  {streams:7} ", end="", flush=True)
            for budget in BUDGETS[provider]:
                reached = _rate(embedder, streams, budget, provider, seconds)
                print(f"{reached:>10,.0f}" if reached else f"{'memory':>10}", end="", flush=True)
                yield {
                    "precision": precision,
                    "streams": streams,
                    "threads": threads,
                    "budget": budget,
                    "tokens_per_s": reached,
                }
            print()


def chosen(
    directory: ModelDirectory, provider: Provider, seconds: float
) -> Iterator[dict[str, Any]]:
    """Say what the worker would choose by itself."""
    print("\nwhat the worker's own measurement chooses")
    for precision in directory.precisions:
        runtime = Runtime(
            provider,
            precision=precision,
            tune_s=min(5.0, 5 * seconds),
            round_tokens=ROUND_TOKENS[provider],
        )
        began = time.perf_counter()
        tuning, share = measured(Plan(directory, runtime))
        row = {"precision": precision, "share": share, **asdict(tuning)}
        row["seconds"] = round(time.perf_counter() - began, 2)
        print(", ".join(f"{name} {value}" for name, value in row.items()))
        yield row


def _rate(
    embedder: OnnxEmbedder, streams: int, budget: int, provider: Provider, seconds: float
) -> float | None:
    tuning = Tuning(max_batch_tokens=budget, overhead_tokens=OVERHEAD[provider])
    work = Work(planned(embedder.model.max_tokens, ROUND_TOKENS[provider], tuning))
    try:
        rate(embedder, streams, work, seconds / 4, time.perf_counter)
        return rate(embedder, streams, work, seconds, time.perf_counter)
    except Exception as error:
        if not is_memory_error(error):
            raise
        return None


if __name__ == "__main__":
    sys.exit(main())
