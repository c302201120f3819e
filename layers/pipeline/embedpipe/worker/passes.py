"""Passes of a model over one inference batch, and who is to blame for one that fails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from embedpipe.errors import ModelUnavailableError, PermanentError, TransientError
from embedpipe.stages.embed import Ids, embed_each
from embedpipe.worker.device import Device, Devices

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

    Results = Sequence[Floats | Exception]


class Passes:
    """Computes inference batches; an input that fails is blamed only while the device works."""

    def __init__(self, devices: Devices, default_model_id: str) -> None:
        self._devices = devices
        self._default_model_id = default_model_id

    def run(self, device: Device, inputs: list[Ids], *, urgent: bool = False) -> Results:
        """Give for each input its vector or its error.

        Raises
        ------
        EmbedderUnavailableError
            No device works.
        """
        if not inputs:
            return []
        results = embed_each(
            inputs, run=partial(device.embed, urgent=urgent), on_memory_error=device.shrink
        )
        device.recover()
        if any(_blames(result) for result in results):
            # A device that is broken fails every input alone; without this each job would be lost.
            try:
                self._devices.check(device, self._default_model_id)
            except ModelUnavailableError as error:
                return [error if _blames(one) else one for one in results]
        return results


def _blames(result: Floats | Exception) -> bool:
    """Say whether an input's own failure may end its job: by itself, or as an attempt spent."""
    is_out_of_memory = isinstance(result, TransientError) and result.spends_attempt
    return isinstance(result, PermanentError) or is_out_of_memory
