"""What identifies a vector space, and digests of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

Setting = str | int | bool


def fingerprint(*, weights_sha256: str, tokenizer_sha256: str, **settings: Setting) -> str:
    """Hash everything that changes the vectors.

    The digest of the original weights stands for the weights, not that of the ONNX file: its bytes
    depend on the library that wrote it, and its precision may change within one vector space.

    Returns
    -------
    SHA-256, hex.

    Examples
    --------
    >>> fingerprint(weights_sha256="aa", tokenizer_sha256="bb", normalize=True)[:8]
    '290fd10f'
    """
    parts: Mapping[str, Setting] = {
        "weights": weights_sha256,
        "tokenizer": tokenizer_sha256,
        **settings,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Hash a file, in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
