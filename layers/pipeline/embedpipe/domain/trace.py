"""W3C trace context: one trace from a request to its stored vectors, a span for each hop.

Nothing collects spans: they are what log lines of one hop have in common, and how the hops hang
together. Source: W3C Trace Context, section 3.2.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})"
)
_IS_SAMPLED = 1


@dataclass(frozen=True)
class Span:
    """One hop's part of a trace; `parent_id` is empty where nothing came before it."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    is_sampled: bool = True

    @property
    def traceparent(self) -> str:
        """What is handed on: this span is the parent of whatever follows."""
        return f"00-{self.trace_id}-{self.span_id}-{self.is_sampled:02x}"

    def keys(self) -> dict[str, str]:
        """Give the keys of a log line."""
        parent = {"parent_span_id": self.parent_id} if self.parent_id else {}
        return {"trace_id": self.trace_id, "span_id": self.span_id, **parent}


def child_of(traceparent: str | None) -> Span | None:
    """Begin a span below that of whoever sent this; None when it says nothing that is valid."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    trace_id, parent_id, flags = found.groups()
    return Span(trace_id, _span_id(), parent_id, bool(int(flags, 16) & _IS_SAMPLED))


def begin(traceparent: str | None) -> Span:
    """Begin a span at the door: below the caller's, or as the first of a new trace."""
    return child_of(traceparent) or Span(secrets.token_hex(16), _span_id())


def _span_id() -> str:
    return secrets.token_hex(8)
