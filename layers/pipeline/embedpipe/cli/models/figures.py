"""What was measured of graphs, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from embedpipe.cli.models.common import megabytes, show
from embedpipe.models.acceptance import Judgement
from embedpipe.models.directory import ModelDirectory

_COLUMNS = ("precision", "#mean similarity", "#least similarity", "#least in batches", "result")


def judgements_json(judgements: Iterable[Judgement]) -> dict[str, dict[str, Any]]:
    """Give the figures by precision."""
    return {
        one.precision: {
            "accepted": one.accepted,
            "similarity": one.similarity.model_dump(),
            "batch_invariance": one.batch_invariance,
            "reasons": list(one.reasons),
        }
        for one in judgements
    }


def show_judgements(title: str, judgements: Iterable[Judgement]) -> None:
    """Print the figures."""
    rows = [
        (
            one.precision,
            f"{one.similarity.mean:.6f}",
            f"{one.similarity.min:.6f}",
            f"{one.batch_invariance:.6f}",
            "accepted" if one.accepted else f"refused: {'; '.join(one.reasons)}",
        )
        for one in judgements
    ]
    show(title, _COLUMNS, rows)


def sizes(directory: ModelDirectory) -> dict[str, int]:
    """Give the bytes of the graph of each precision."""
    files = directory.manifest.files
    return {
        precision: sum(files[name].bytes for name in directory.manifest.graph_files(precision))
        for precision in directory.precisions
    }


def model_json(directory: ModelDirectory) -> dict[str, Any]:
    """Give what there is to know of a model."""
    variants: Mapping[Any, Any] = directory.manifest.variants
    return {
        **asdict(directory.info),
        "licence": directory.manifest.licence,
        "source": directory.manifest.source,
        "precisions": {
            precision: {"bytes": size}
            | (
                variants[precision].model_dump(include={"similarity", "batch_invariance"})
                if precision in variants
                else {}
            )
            for precision, size in sizes(directory).items()
        },
    }


def show_models(directories: Iterable[ModelDirectory]) -> None:
    """Print one line per model."""
    rows = [
        (
            one.info.model_id,
            one.info.dimensions,
            ", ".join(map(str, one.info.matryoshka_dimensions)),
            one.info.max_tokens,
            ", ".join(f"{name} {megabytes(size)}" for name, size in sizes(one).items()),
            one.info.fingerprint[:12],
        )
        for one in directories
    ]
    show(
        "",
        ("model", "#dimensions", "shorter", "#max tokens", "precisions", "fingerprint"),
        rows,
    )
