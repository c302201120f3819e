"""A model for the run: the vector is a function of the token ids alone, and some ids are trouble.

Inputs are words of one letter, as `tests.tiny_model` knows them; these tokens are not letters.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from embedpipe.errors import NotFoundError
from embedpipe.ports.models import Embedder, LoadedModel, ModelInfo, Tuning

from tests.tiny_model import WORDS

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

#: The word that raises, the one that ends the process, the one that takes long.
POISON, KILLER, SLOW = "queue", "!", "?"
_POISON_ID, _KILLER_ID, _SLOW_ID = (WORDS.index(word) for word in (POISON, KILLER, SLOW))
_ROWS = 4096


def vectors_of(token_ids: Sequence[Sequence[int]], dimensions: int) -> Floats:
    """Give the vector of each input; neighbours in a batch change nothing."""
    table = np.random.default_rng(11).standard_normal((_ROWS, dimensions)).astype(np.float32)
    made = np.empty((len(token_ids), dimensions), dtype=np.float32)
    for row, ids in enumerate(token_ids):
        places = [(token * 61 + position * 7) % _ROWS for position, token in enumerate(ids)]
        vector = table[places].sum(axis=0)
        made[row] = vector / np.linalg.norm(vector)
    return made


class ChaosEmbedder:
    """`ports.Embedder` of the run; `told` hears of every input that it computes."""

    def __init__(self, model: ModelInfo, told: Callable[[int], None], slow_s: float) -> None:
        self._model = model
        self._told = told
        self._slow_s = slow_s

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        return self._model

    @property
    def tuning(self) -> Tuning:
        """Small batches, so that a message is in several."""
        return Tuning(max_batch_tokens=256)

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Compute one batch, or not."""
        present = {token for ids in token_ids for token in ids}
        if _KILLER_ID in present:
            os._exit(139)
        if _POISON_ID in present:
            raise RuntimeError("the device does not like this batch")
        if _SLOW_ID in present:
            time.sleep(self._slow_s)
        self._told(len(token_ids))
        return vectors_of(token_ids, self._model.dimensions)


class ChaosEmbedders:
    """`ports.Embedders` with one model."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def get(self, model_id: str) -> Embedder:
        """Give it."""
        if model_id != self._embedder.model.model_id:
            raise NotFoundError("there is no such model", code="MODEL_NOT_FOUND")
        return self._embedder

    def loaded(self) -> list[LoadedModel]:
        """It is always there."""
        model = self._embedder.model
        return [LoadedModel(model.model_id, model.fingerprint, "fp32", "cpu", 1, 0.0)]

    def unload_idle(self) -> list[str]:
        """It stays."""
        return []
