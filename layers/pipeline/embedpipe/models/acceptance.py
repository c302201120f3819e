"""Judge a graph before it is used: near enough to float32, and the same in every batch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from embedpipe.domain.pooling import Floats
from embedpipe.models.manifest import FP32, Precision, Similarity
from embedpipe.models.tokenizer_file import load_tokenizer

Ids = list[list[int]]
Embed = Callable[[Sequence[Sequence[int]]], Floats]

#: Smallest cosine similarity to float32: (mean, least) over the texts. Each stands between what a
#: sound graph of the precision reaches (fp16 0.999999, w8 0.9995 and 0.996, int8 0.993 and 0.97 for
#: all-MiniLM-L6-v2) and what a badly scaled one does (int8 with one scale per matrix: 0.95, 0.89).
LEAST_SIMILARITY: dict[Precision, tuple[float, float]] = {
    "fp32": (0.9999, 0.9999),
    "fp16": (0.9999, 0.999),
    "w8": (0.999, 0.99),
    "int8": (0.985, 0.95),
}
#: Smallest cosine similarity of a text's vector alone and in a batch.
LEAST_INVARIANCE = 0.9999
_BATCH = 8


@dataclass(frozen=True)
class Judgement:
    """What was measured of a graph, and why it is refused; `reasons` is empty when it is not."""

    precision: Precision
    similarity: Similarity
    batch_invariance: float
    reasons: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether it may be used."""
        return not self.reasons


@cache
def texts() -> tuple[str, ...]:
    """Give the built-in texts: short and long, prose and code, many scripts, odd ones."""
    file = resources.files("embedpipe.models") / "acceptance_texts.json"
    return tuple(json.loads(file.read_text(encoding="utf-8")))


def token_ids(tokenizer: Path, *, max_tokens: int, prefix: str = "") -> Ids:
    """Give the ids of the built-in texts, special tokens included, cut to what the model takes."""
    loaded = load_tokenizer(tokenizer)
    loaded.enable_truncation(max_tokens)
    found = [encoding.ids for encoding in loaded.encode_batch_fast([prefix + t for t in texts()])]
    # A tokenizer that adds no special tokens gives nothing for an empty text.
    return [ids for ids in found if ids]


def alone(embed: Embed, inputs: Ids) -> Floats:
    """Compute each input by itself, shape (inputs, dimensions)."""
    return np.concatenate([embed([ids]) for ids in inputs])


def judge(
    precision: Precision,
    embed: Embed,
    inputs: Ids,
    *,
    reference: Floats,
    vectors: Floats | None = None,
    allow_batch_variance: bool = False,
) -> Judgement:
    """Compare a graph with the one in float32, and its batches with single inputs.

    Parameters
    ----------
    reference
        Vectors of `alone` in float32.
    vectors
        Vectors of `alone` of this graph, None when they are still to be computed.
    allow_batch_variance
        Measure it, but do not refuse the graph for it.
    """
    vectors = alone(embed, inputs) if vectors is None else vectors
    to_reference = _cosines(vectors, reference)
    similarity = Similarity(mean=_kept(to_reference.mean()), min=_kept(to_reference.min()))
    invariance = _kept(_batched(embed, inputs, vectors).min())
    reasons = []
    mean, least = LEAST_SIMILARITY[precision]
    # Said this way round, NaN is refused as well.
    if not (similarity.mean >= mean and similarity.min >= least):
        reasons.append(f"its vectors are not those of {FP32}: at least {mean} and {least} needed")
    if not allow_batch_variance and not invariance >= LEAST_INVARIANCE:
        reasons.append(
            f"a text's vector depends on its batch: at least {LEAST_INVARIANCE} needed, or "
            "--allow-batch-variance"
        )
    return Judgement(precision, similarity, invariance, tuple(reasons))


def _batched(embed: Embed, inputs: Ids, expected: Floats) -> Floats:
    """Give the similarity of every input to itself alone, in batches of two kinds."""
    order = sorted(range(len(inputs)), key=lambda index: len(inputs[index]))
    longest = order[-1]
    beside = [[*order[at : at + _BATCH - 1], longest] for at in range(0, len(order), _BATCH - 1)]
    random.Random(5).shuffle(order)
    mixed = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
    return np.concatenate(
        [
            _cosines(embed([inputs[index] for index in batch]), expected[batch])
            for batch in beside + mixed
        ]
    )


def _cosines(vectors: Floats, expected: Floats) -> Floats:
    ours, theirs = vectors.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = (ours * theirs).sum(axis=1) / lengths
    return result


def _kept(value: float) -> float:
    """Round down, so that what is written never flatters."""
    return float(np.floor(np.float64(value) * 1e7 + 1e-6) / 1e7)
