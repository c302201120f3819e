"""From a directory's files to what its graph is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedpipe.domain.pooling import PoolingType
from embedpipe.errors import ModelFilesError
from embedpipe.models import dense, weights
from embedpipe.models.graph import foreign
from embedpipe.models.graph.architectures import SUPPORTED, encoder_of
from embedpipe.models.graph.encoder import build, longest_input
from embedpipe.models.graph.tail import Dense, Tail, append
from embedpipe.models.sentence_files import SentenceFiles

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Blueprint:
    """What the graph of a model is made of.

    Attributes
    ----------
    trunk
        Gives the graph up to where the tail begins, in float32; new each time.
    longest
        Longest input it has positions for; None when that is not known.
    vocabulary
        How many ids it takes; None when that is not known.
    weight_files
        All files that its numbers come from.
    origin
        `weights` or `onnx`.
    """

    trunk: Callable[[], ModelProto]
    tail: Tail
    dimensions: int
    longest: int | None
    vocabulary: int | None
    weight_files: tuple[Path, ...]
    origin: str

    def graph(self, transform: Callable[[ModelProto], ModelProto]) -> ModelProto:
        """Give the whole graph, its trunk transformed."""
        return append(transform(self.trunk()), self.tail, dimensions=self.dimensions)


def draw(files: SentenceFiles, pooling: PoolingType | None) -> Blueprint:
    """Find out how to make the graph: from the weights where that is known, else from an ONNX file.

    Parameters
    ----------
    pooling
        Instead of what the files say.

    Raises
    ------
    ModelFilesError
        Neither can be used, and why.
    """
    how = pooling or files.pooling
    if how is None:
        raise ModelFilesError("no modules.json says how to pool; give --pooling")
    found = weights.find(files.encoder)
    if files.config.get("model_type") in SUPPORTED and found:
        return _from_weights(files, found, how)
    graph = foreign.find(files.folder) or foreign.find(files.encoder)
    if graph is not None:
        return _from_graph(files, foreign.read(graph), how)
    if not found:
        raise ModelFilesError(weights.why_none(files.encoder))
    kind = files.config.get("model_type", "unknown")
    raise ModelFilesError(
        f"no graph is built for the architecture {kind} (but for {', '.join(SUPPORTED)}); "
        f"put its export beside it, as {foreign.PLACES[0]}"
    )


def _from_weights(files: SentenceFiles, found: list[Path], how: PoolingType) -> Blueprint:
    encoder = encoder_of(files.config)
    tensors = weights.Weights(found)
    steps, more = _steps(files)

    def trunk() -> ModelProto:
        try:
            return build(encoder, tensors)
        except KeyError as exc:
            raise ModelFilesError(f"the weights lack {exc.args[0]}") from None

    try:
        longest = longest_input(encoder, tensors)
        vocabulary = len(tensors["embeddings.word_embeddings.weight"])
    except KeyError as exc:
        raise ModelFilesError(f"the weights lack {exc.args[0]}") from None
    return Blueprint(
        trunk=trunk,
        tail=Tail(how, steps),
        dimensions=_dimensions(steps, encoder.width),
        longest=longest,
        vocabulary=vocabulary,
        weight_files=(*found, *more),
        origin="weights",
    )


def _from_graph(files: SentenceFiles, graph: foreign.Foreign, how: PoolingType) -> Blueprint:
    # A graph that pools has what follows pooling in it as well.
    steps, more = ((), ()) if graph.is_pooled else _steps(files)
    width = graph.dimensions or files.config.get("hidden_size") or files.config.get("dim")
    vocabulary = files.config.get("vocab_size")
    if not isinstance(width, int):
        raise ModelFilesError(f"{graph.files[0].name} does not say how long its vectors are")
    return Blueprint(
        trunk=graph.trunk,
        tail=Tail(None if graph.is_pooled else how, steps),
        dimensions=_dimensions(steps, width),
        longest=None,
        vocabulary=vocabulary if isinstance(vocabulary, int) else None,
        weight_files=(*graph.files, *more),
        origin="onnx",
    )


def _steps(files: SentenceFiles) -> tuple[tuple[Dense | None, ...], tuple[Path, ...]]:
    steps: list[Dense | None] = []
    sources: list[Path] = []
    for folder in files.steps:
        if folder is None:
            steps.append(None)
            continue
        layer, used = dense.read(folder)
        steps.append(layer)
        sources += used
    return tuple(steps), tuple(sources)


def _dimensions(steps: tuple[Dense | None, ...], width: int) -> int:
    for step in steps:
        if step is not None:
            if step.weight.shape[1] != width:
                raise ModelFilesError(
                    f"a dense layer takes {step.weight.shape[1]} numbers and gets {width}"
                )
            width = step.weight.shape[0]
    return width
