"""Make the graphs of a model, one per precision, and keep those that are accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedpipe.errors import ModelFilesError
from embedpipe.models.acceptance import Ids, Judgement, alone, judge
from embedpipe.models.fingerprint import sha256_of
from embedpipe.models.graph.files import graph_name, save
from embedpipe.models.graph.precisions import transformed
from embedpipe.models.manifest import FP32, PRECISIONS, PinnedFile, Pooling, Precision, Variant
from embedpipe.models.runner import Runner

if TYPE_CHECKING:
    from embedpipe.domain.pooling import Floats
    from embedpipe.models.blueprint import Blueprint

Report = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """The accepted graphs, their files, and what was measured of all."""

    variants: dict[Precision, Variant]
    files: dict[str, PinnedFile]
    judgements: tuple[Judgement, ...]


def make(
    blueprint: Blueprint,
    target: Path,
    inputs: Ids,
    *,
    pooling: Pooling,
    precisions: Sequence[Precision],
    allow_batch_variance: bool = False,
    report: Report = lambda _: None,
) -> Made:
    """Write the graphs of the precisions, fp32 always, and judge each.

    Files of one that is not accepted are removed again. Without fp32 nothing else is made.
    """
    variants: dict[Precision, Variant] = {}
    judgements: list[Judgement] = []
    reference: Floats | None = None
    for precision in (one for one in PRECISIONS if one == FP32 or one in precisions):
        report(f"{precision}: building the graph")
        graph = blueprint.graph(partial(transformed, precision=precision))
        names = (graph_name(precision), *save(graph, target / graph_name(precision)))
        del graph
        report(f"{precision}: computing {len(inputs)} texts alone and in batches")
        runner = Runner(target / names[0], pooling)
        vectors = alone(runner.embed, inputs)
        if reference is None:
            reference = vectors
            _check_length(reference, blueprint)
        judgement = judge(
            precision,
            runner.embed,
            inputs,
            reference=reference,
            vectors=vectors,
            allow_batch_variance=allow_batch_variance,
        )
        judgements.append(judgement)
        if judgement.accepted:
            variants[precision] = _variant(target, names, judgement)
        else:
            for name in names:
                (target / name).unlink()
        if FP32 not in variants:
            break
    files = {name: pin(target / name) for one in variants.values() for name in one.files}
    return Made(variants, files, tuple(judgements))


def make_unjudged(blueprint: Blueprint, target: Path) -> Made:
    """Write the graph in float32, for a model whose vectors are compared with known ones."""
    name = graph_name(FP32)
    names = (name, *save(blueprint.graph(lambda model: model), target / name))
    return Made({}, {one: pin(target / one) for one in names}, ())


def pin(path: Path) -> PinnedFile:
    """Give what a file is now."""
    return PinnedFile(sha256=sha256_of(path), bytes=path.stat().st_size)


def _check_length(vectors: Floats, blueprint: Blueprint) -> None:
    if vectors.shape[1] != blueprint.dimensions:
        raise ModelFilesError(
            f"the graph gives vectors of {vectors.shape[1]} dimensions, not {blueprint.dimensions}"
        )


def _variant(target: Path, names: tuple[str, ...], judgement: Judgement) -> Variant:
    return Variant(
        file=names[0],
        data=names[1:],
        size=sum((target / name).stat().st_size for name in names),
        similarity=judgement.similarity,
        batch_invariance=judgement.batch_invariance,
    )
