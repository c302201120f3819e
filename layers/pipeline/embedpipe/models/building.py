"""Where model directories are made: beside their place, put there at once, or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedpipe.errors import ModelFilesError
from embedpipe.models.directory import ModelDirectory

# A name with a dot in front is no model.
_PREFIX = ".building-"


@contextmanager
def scratch(models_dir: Path) -> Iterator[Path]:
    """Give a folder on the same file system, gone afterwards whatever happens.

    What a killed process left behind is removed as well.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    _sweep(models_dir)
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=_PREFIX) as name:
        path = Path(name)
        # Held as long as the process lives, so that another one leaves the folder alone.
        lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        finally:
            os.close(lock)


def put(built: Path, target: Path) -> None:
    """Put a finished directory in its place; one that is there goes where the new one was made.

    Raises
    ------
    ModelFilesError
        A file of the new one is not as its manifest says.
    """
    if problems := ModelDirectory.read(built).problems():
        raise ModelFilesError("; ".join(problems))
    if target.exists() or target.is_symlink():
        target.rename(built.parent / "replaced")
    built.rename(target)


def remove(target: Path) -> None:
    """Remove a directory: from one moment to the next it is no longer there.

    Raises
    ------
    ModelFilesError
        It is a link, or not a directory.
    """
    if target.is_symlink() or not target.is_dir():
        raise ModelFilesError(f"{target.name} is a link or not a directory; it is left alone")
    with scratch(target.parent) as folder:
        target.rename(folder / target.name)


def _sweep(models_dir: Path) -> None:
    for path in models_dir.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
