"""The real model, prepared once in the repository's `.embedpipe/models`."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
from embedpipe.errors import ModelFilesError
from embedpipe.models.directory import ModelDirectory
from embedpipe.models.prepare import prepare

MODELS_DIR = Path(__file__).resolve().parents[1] / ".embedpipe" / "models"


@cache
def _prepared() -> ModelDirectory | str:
    try:
        return ModelDirectory.read(MODELS_DIR / prepare(MODELS_DIR).model_id)
    except ModelFilesError as exc:
        return exc.message


def the_real_model() -> ModelDirectory:
    """Give it; without its wheel, skip on a laptop and fail in CI."""
    prepared = _prepared()
    if isinstance(prepared, ModelDirectory):
        return prepared
    if os.environ.get("CI"):
        pytest.fail(prepared)
    pytest.skip(prepared)
