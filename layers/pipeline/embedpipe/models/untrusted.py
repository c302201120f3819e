"""Reading a directory that somebody else made: no path leaves it, no file of it is run."""

from __future__ import annotations

import json
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from embedpipe.errors import ModelFilesError

MAX_JSON_BYTES = 1 << 20


def child(folder: Path, name: str) -> Path:
    """Give the path of a regular file, or of a folder, inside a folder.

    Raises
    ------
    ModelFilesError
        It is not there, lies outside, is a link or something special.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
        raise ModelFilesError(f"{name!r} lies outside the directory")
    path = folder
    for part in relative.parts:
        path = path / part
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            raise ModelFilesError(f"{name} is missing") from None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ModelFilesError(
                f"{name} is a link or not a regular file; `cp -rL` makes a copy without links"
            )
    return path


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object; an empty one when there is no such file.

    Raises
    ------
    ModelFilesError
        It is no JSON object, or far too large for one.
    """
    value = read_any_json(folder, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ModelFilesError(f"{name} is not a JSON object")
    return value


def read_any_json(folder: Path, name: str) -> Any:
    """Read a JSON file; None when there is none. Raises ModelFilesError."""
    if not (folder / name).exists():
        return None
    path = child(folder, name)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelFilesError(f"{name} is larger than {MAX_JSON_BYTES} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ModelFilesError(f"{name} is not JSON") from None
