"""Synchronous work straight on one device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from embedpipe.domain.batching import plan_batches
from embedpipe.errors import EmbedderUnavailableError
from embedpipe.stages.embed import Ids, embed_each
from embedpipe.worker.device import Device

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats


class DirectWork:
    """Computes in the caller's thread, before queued inference batches."""

    def __init__(self, device: Device, *, max_batch_tokens: int = 512) -> None:
        self._device = device
        self._max_batch_tokens = max_batch_tokens

    def compute(
        self, model_id: str, inputs: Sequence[Ids], timeout_s: float
    ) -> list[Floats | Exception]:
        """Give each input's vector or error."""
        del timeout_s
        if model_id != self._device.model.model_id:
            raise EmbedderUnavailableError("another model is loaded")
        results: dict[int, Floats | Exception] = {}
        plan = plan_batches(
            [len(ids) for ids in inputs], max_tokens=self._max_batch_tokens, overhead_tokens=0
        )
        for batch in plan:
            run = partial(self._device.embed, urgent=True)
            done = embed_each([inputs[index] for index in batch], run=run)
            results.update(zip(batch, done, strict=True))
        return [results[index] for index in range(len(inputs))]
