"""Which lengths of vectors a model offers."""

from __future__ import annotations

from embedpipe.errors import InvalidInputError
from embedpipe.ports import ModelInfo


def offered_dimensions(model: ModelInfo, wanted: int | None) -> int:
    """Give the dimensions of an answer; None wants the model's own.

    Raises
    ------
    InvalidInputError
        DIMENSIONS_NOT_OFFERED: the model was not trained to be cut to that length.
    """
    offered = sorted({*model.matryoshka_dimensions, model.dimensions})
    if wanted is None:
        return model.dimensions
    if wanted in offered:
        return wanted
    raise InvalidInputError(
        f"The model gives vectors of {', '.join(map(str, offered))} dimensions.",
        code="DIMENSIONS_NOT_OFFERED",
        field="dimensions",
    )
