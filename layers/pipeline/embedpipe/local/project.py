"""Finds the checkout: the functions and the template are not part of the installed package."""

from __future__ import annotations

from pathlib import Path

import embedpipe
from embedpipe.local.errors import LocalCloudError

TEMPLATE = "template.yaml"


def find(given: Path | None = None) -> Path:
    """Give the root of the checkout: as given, above the working directory, or of the install.

    Raises
    ------
    LocalCloudError
        There is none.
    """
    if given is not None:
        candidates = [given.expanduser().resolve()]
    else:
        here = Path.cwd()
        installed = Path(embedpipe.__file__).resolve()
        candidates = [here, *here.parents, *installed.parents]
    for candidate in candidates:
        if (candidate / TEMPLATE).is_file() and (candidate / "functions").is_dir():
            return candidate
    raise LocalCloudError(
        "the project's functions and template.yaml were not found",
        "run inside a checkout of embedpipe, or give its root with --project",
    )
