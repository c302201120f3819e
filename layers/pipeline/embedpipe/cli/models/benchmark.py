"""`embedpipe models benchmark`: how fast a model is on this machine, by precision and budget."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedpipe.cli.models.common import (
    DEFAULT_DIR,
    AsJson,
    ModelsDir,
    failures,
    numbers,
    precisions,
    progress,
    show,
    wrong_usage,
)
from embedpipe.cli.output import emit_json
from embedpipe.domain.batching import plan_batches
from embedpipe.models.directory import FP32, ModelDirectory, Precision
from embedpipe.models.runner import Device

if TYPE_CHECKING:
    from embedpipe.ports.models import Embedder

Batch = list[list[int]]
#: Inputs of each mix, and the range of their tokens: questions, chunks of documents, both.
MIXES: dict[str, tuple[int, int, int]] = {
    "short": (256, 4, 24),
    "mixed": (72, 4, 184),
    "long": (24, 164, 256),
}
_ROUNDS = 3
_OVERHEAD = {"cpu": 16, "cuda": 2048}
_BUDGETS = {"cpu": "128,512,2048", "cuda": "4096,16384,65536"}


@dataclass(frozen=True)
class Cell:
    """One measured case: real tokens per second, and how many times those of fp32."""

    precision: Precision
    budget: int
    mix: str
    tokens_per_s: float
    ratio: float | None


def benchmark_command(
    model_id: Annotated[str, typer.Argument(help="Which.")],
    models_dir: ModelsDir = DEFAULT_DIR,
    precision: Annotated[
        str, typer.Option("--precision", help="With commas; all it has if left out.")
    ] = "",
    budget: Annotated[
        str, typer.Option(help="With commas: padded tokens of one batch.", show_default=False)
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=0.01, max=60, help="Of each case, in each of three rounds.")
    ] = 0.3,
    threads: Annotated[int, typer.Option(min=0, help="Of one batch; 0 takes all cores.")] = 0,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure tokens per second by precision, budget and length of inputs, beside fp32.

    The cases take turns, so that what else the machine does troubles all of them alike.
    """
    from embedpipe.adapters.embedders.onnx import OnnxEmbedder

    wanted = precisions(precision)
    budgets = numbers(budget or _BUDGETS[device])
    with failures(as_json), progress(as_json) as report:
        directory = ModelDirectory.read(models_dir / model_id)
        chosen = wanted or directory.precisions
        if missing := [one for one in chosen if one not in directory.precisions]:
            wrong_usage(f"{model_id} has no {', '.join(missing)}")
        embedders: dict[Precision, Embedder] = {}
        for one in chosen:
            report(f"{one}: loading")
            embedders[one] = OnnxEmbedder(
                directory, provider=device, precision=one, threads=threads
            )
        cells = measure(
            embedders, budgets, seconds, overhead_tokens=_OVERHEAD[device], report=report
        )
    if as_json:
        emit_json({"model_id": model_id, "device": device, "cases": [vars(one) for one in cells]})
    else:
        _show(model_id, cells)


def measure(
    embedders: dict[Precision, Embedder],
    budgets: tuple[int, ...],
    seconds: float,
    *,
    overhead_tokens: int,
    report: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Cell]:
    """Measure every case in turns; give the medians."""
    longest = next(iter(embedders.values())).model.max_tokens
    plans = {
        (budget, mix): list(_batches(mix, longest, budget, overhead_tokens))
        for budget in budgets
        for mix in MIXES
    }
    cases = [(one, *key) for key in plans for one in embedders]
    rates: dict[tuple[Precision, int, str], list[float]] = {case: [] for case in cases}
    for number in range(_ROUNDS):
        for at, (one, budget, mix) in enumerate(cases):
            report(f"round {number + 1} of {_ROUNDS}: case {at + 1} of {len(cases)}")
            rates[one, budget, mix].append(
                _rate(embedders[one], plans[budget, mix], seconds, clock)
            )
    found = {case: median(values) for case, values in rates.items()}
    return [
        Cell(*case, tokens_per_s=rate, ratio=_ratio(rate, found.get((FP32, *case[1:]))))
        for case, rate in found.items()
    ]


def _ratio(rate: float, reference: float | None) -> float | None:
    return rate / reference if reference else None


def _batches(mix: str, longest: int, budget: int, overhead_tokens: int) -> Iterator[Batch]:
    """Give the planned batches of a mix, in an order in which any part is like the whole."""
    count, least, most = MIXES[mix]
    dice = random.Random(mix)
    lengths = [min(dice.randint(least, most), longest) for _ in range(count)]
    plan = plan_batches(lengths, max_tokens=budget, overhead_tokens=overhead_tokens)
    dice.shuffle(plan)
    for batch in plan:
        yield [[1 + place % 2 for place in range(lengths[index])] for index in batch]


def _rate(
    embedder: Embedder, batches: list[Batch], seconds: float, clock: Callable[[], float]
) -> float:
    tokens, start = 0, clock()
    while True:
        for batch in batches:
            embedder.embed(batch)
            tokens += sum(map(len, batch))
            if (elapsed := clock() - start) >= seconds:
                return tokens / elapsed


def _show(model_id: str, cells: list[Cell]) -> None:
    rows: dict[tuple[Precision, int], dict[str, Any]] = {}
    for cell in cells:
        ratio = "" if cell.ratio is None else f" {cell.ratio:.2f}x"
        rows.setdefault((cell.precision, cell.budget), {})[cell.mix] = (
            f"{cell.tokens_per_s:,.0f}{ratio}"
        )
    order = sorted(rows, key=lambda key: key[1])
    show(
        f"{model_id}: tokens per second, and how many times those of fp32 with the same budget",
        ("precision", "#budget", *(f"#{mix}" for mix in MIXES)),
        [(*key, *(rows[key][mix] for mix in MIXES)) for key in order],
    )
