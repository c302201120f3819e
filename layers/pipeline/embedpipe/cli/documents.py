"""Files and folders as documents: which are taken, and under which id."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARKDOWN = frozenset({".md", ".markdown", ".mdown"})
MAX_BYTES = 5_242_880
_PROBE_BYTES = 8192


@dataclass(frozen=True)
class FoundFile:
    """A file to ingest."""

    path: Path
    document_id: str

    @property
    def content_type(self) -> str:
        """Markdown by its suffix, else plain text."""
        is_markdown = self.path.suffix.lower() in MARKDOWN
        return "text/markdown" if is_markdown else "text/plain"


@dataclass
class Found:
    """What a walk found.

    Attributes
    ----------
    skipped
        How many files were left out, by reason: hidden, binary, empty, too large.
    clashes
        Ids that two files would have.
    """

    files: list[FoundFile] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    clashes: list[str] = field(default_factory=list)


def find(paths: Sequence[Path]) -> Found:
    """Walk files and folders, in order of names.

    A file below a folder is named by its path from there, with `:` for `/`; one that was given
    itself, by its name. What was given itself is never skipped for being hidden.
    """
    found = Found()
    seen: set[str] = set()
    for path, document_id in _named(paths, found.skipped):
        reason = reason_to_skip(path)
        if reason is not None:
            found.skipped[reason] += 1
        elif document_id in seen:
            found.clashes.append(document_id)
        else:
            seen.add(document_id)
            found.files.append(FoundFile(path, document_id))
    return found


def reason_to_skip(path: Path) -> str | None:
    """Say why a file is no document; None when it is one."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_PROBE_BYTES)
    except OSError:
        return "unreadable"
    if size == 0 or (size <= _PROBE_BYTES and head.isspace()):
        return "empty"
    if size > MAX_BYTES:
        return f"larger than {MAX_BYTES} bytes"
    if b"\0" in head:
        return "binary"
    try:
        # A character may be cut at the end of the probe: up to 3 bytes of it.
        head[: -3 if size > len(head) else None].decode("utf-8", "strict")
    except UnicodeDecodeError as exc:
        return None if exc.end >= len(head) - 6 and size > len(head) else "binary"
    return None


def _named(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[tuple[Path, str]]:
    for given in paths:
        if not given.is_dir():
            yield given, given.name
            continue
        for folder, folders, names in os.walk(given):
            hidden = [name for name in folders if name.startswith(".")]
            skipped["hidden"] += len(hidden)
            folders[:] = sorted(set(folders) - set(hidden))
            for name in sorted(names):
                path = Path(folder, name)
                if name.startswith("."):
                    skipped["hidden"] += 1
                else:
                    yield path, path.relative_to(given).as_posix().replace("/", ":")
