from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from embedpipe.models.acceptance import alone, judge, texts, token_ids
from embedpipe.models.directory import TOKENIZER
from embedpipe.models.manifest import Precision

from tests.tiny_model import MAX_TOKENS, the_tiny_model

Floats = npt.NDArray[np.float32]
Embed = Callable[[Sequence[Sequence[int]]], Floats]
INPUTS = [[number, number + 1, *range(number)] for number in range(20)]


def a_model(*, noise: float = 0.0, from_batch: float = 0.0, bad: int | None = None) -> Embed:
    """Make one whose vectors follow from the ids, and from the batch as far as that is said."""

    def vector(ids: Sequence[int]) -> Floats:
        dice = np.random.default_rng([len(ids), *ids])
        plain = dice.normal(size=64)
        return (plain + noise * dice.normal(size=64)).astype(np.float32)

    def embed(token_ids: Sequence[Sequence[int]]) -> Floats:
        found: npt.NDArray[Any] = np.stack([vector(ids) for ids in token_ids])
        if len(token_ids) > 1:
            found = found + from_batch * np.random.default_rng(1).normal(size=64)
        if bad is not None and len(token_ids[0]) == bad:
            found = found * np.nan
        return found.astype(np.float32)

    return embed


def reasons(model: Embed, precision: Precision = "w8", **options: Any) -> tuple[str, ...]:
    reference = alone(a_model(), INPUTS)
    return judge(precision, model, INPUTS, reference=reference, **options).reasons


def test_the_texts_are_many_and_various() -> None:
    characters = set("".join(texts()))

    assert len(texts()) >= 64
    assert len(set(texts())) == len(texts())
    assert "" in texts()
    assert max(map(len, texts())) > 2000
    assert {"ш", "の", "ع", "ह", "ก", "한", "🐱", "\t", "#", "{"} <= characters


def test_they_are_cut_to_what_the_model_takes_with_its_special_tokens() -> None:
    inputs = token_ids(the_tiny_model().file(TOKENIZER), max_tokens=MAX_TOKENS)

    assert max(map(len, inputs)) == MAX_TOKENS
    assert {ids[0] for ids in inputs} == {2}
    assert {ids[-1] for ids in inputs} == {3}


def test_the_same_vectors_in_every_batch_are_accepted() -> None:
    reference = alone(a_model(), INPUTS)

    judgement = judge("fp32", a_model(), INPUTS, reference=reference)

    assert judgement.accepted
    assert (judgement.similarity.mean, judgement.similarity.min) == (1.0, 1.0)
    assert judgement.batch_invariance == 1.0


@pytest.mark.parametrize(
    ("precision", "noise", "accepted"),
    [
        ("fp16", 0.001, True),
        ("fp16", 0.03, False),
        ("w8", 0.03, True),
        ("w8", 0.1, False),
        ("int8", 0.1, True),
        ("int8", 0.4, False),
    ],
)
def test_each_precision_has_its_own_limit(
    precision: Precision, noise: float, accepted: bool
) -> None:
    assert (reasons(a_model(noise=noise), precision) == ()) is accepted


def test_one_bad_text_among_many_good_ones_is_enough_to_be_refused() -> None:
    def nearly(token_ids: Sequence[Sequence[int]]) -> Floats:
        found = a_model()(token_ids)
        for row, ids in enumerate(token_ids):
            if ids == INPUTS[7]:
                found[row] += 0.75 * np.roll(found[row], 1)
        return found

    [reason] = reasons(nearly, "int8")

    assert reason.startswith("its vectors are not those of fp32")


def test_vectors_that_depend_on_the_batch_are_refused_unless_that_is_allowed() -> None:
    model = a_model(from_batch=0.1)

    [reason] = reasons(model)
    allowed = reasons(model, allow_batch_variance=True)

    assert "depends on its batch" in reason
    assert allowed == ()


def test_no_number_is_no_similarity() -> None:
    assert len(reasons(a_model(bad=len(INPUTS[3])))) == 2


def test_what_is_written_down_never_flatters() -> None:
    reference = alone(a_model(), INPUTS)
    noisy = a_model(noise=0.01)

    judgement = judge("w8", noisy, INPUTS, reference=reference)

    ours = alone(noisy, INPUTS).astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(reference, axis=1)
    exact = (ours * reference).sum(axis=1) / lengths
    assert exact.min() - 2e-7 < judgement.similarity.min <= exact.min()
