"""W3C trace context at the door."""

from __future__ import annotations

import re
import secrets

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def traceparent_of(header: str | None) -> str:
    """Give the caller's trace context, or a new one when it has none that is valid.

    Source: W3C Trace Context, section 3.2. The caller's is kept as it is: the API records no span
    of its own, so the caller's is the parent of what the stages do.
    """
    if header is not None and _TRACEPARENT.fullmatch(header):
        return header
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def trace_id(traceparent: str) -> str:
    """Give the trace id in a trace context."""
    return traceparent.split("-")[1]
