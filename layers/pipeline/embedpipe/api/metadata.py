"""Metadata and filters: any JSON object, within a size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from embedpipe.errors import TooLargeError


def check_metadata(value: Mapping[str, Any], field: str, max_bytes: int) -> None:
    """Raise TooLargeError (METADATA_TOO_LARGE) above so many bytes of compact JSON in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > max_bytes:
        raise TooLargeError(
            f"The object is larger than {max_bytes} bytes of JSON.",
            code="METADATA_TOO_LARGE",
            field=field,
        )
