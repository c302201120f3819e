"""Lists of models without those that are damaged, which the log names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from embedpipe.errors import ModelFilesError, NotFoundError
from embedpipe.ports.models import ModelInfo

logger = logging.getLogger(__name__)


class Readable:
    """Reads models one by one; each that cannot be read is named once. Threads may share it.

    Parameters
    ----------
    expects_strangers
        Whether some ids are of something else than a model, of which nothing is said.
    """

    def __init__(self, get: Callable[[str], ModelInfo], *, expects_strangers: bool = False) -> None:
        self._get = get
        self._expects_strangers = expects_strangers
        self._told: set[str] = set()

    def of(self, model_ids: Iterable[str]) -> Iterator[ModelInfo]:
        """Give them by id."""
        for model_id in sorted(model_ids):
            try:
                model = self._get(model_id)
            except (NotFoundError, ModelFilesError, OSError) as exc:
                self._tell(model_id, exc)
            else:
                yield model

    def _tell(self, model_id: str, error: Exception) -> None:
        if isinstance(error, NotFoundError) and self._expects_strangers:
            return
        if model_id not in self._told:
            self._told.add(model_id)
            logger.warning("the model %s is left out: %s", model_id, type(error).__name__)
