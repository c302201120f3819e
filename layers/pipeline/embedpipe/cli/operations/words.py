"""Figures, ages and states as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.markup import escape

#: Colours of states and statuses; the rest is plain.
COLOURS = {
    "running": "green",
    "active": "green",
    "succeeded": "green",
    "approved_for_requeue": "green",
    "ok": "green",
    "done": "green",
    "paused": "yellow",
    "draining": "yellow",
    "quarantined": "yellow",
    "ignored": "dim",
    "requeued": "dim",
    "cancelled": "dim",
    "failed": "red",
    "stalled": "red",
    "bad": "red",
}


def text(value: object, width: int | None = None) -> str:
    """Give anything as the plain text of a cell, in one line and cut where it is too long."""
    found = "" if value is None else " ".join(str(value).split())
    if width is not None and len(found) > width:
        found = found[: width - 1].rstrip() + "…"
    return escape(found)


def painted(state: str, colour: str | None = None) -> str:
    """Give a state in its colour."""
    found = colour or COLOURS.get(state)
    return f"[{found}]{escape(state)}[/]" if found else escape(state)


def warned(value: int) -> str:
    """Give a count that should be 0: red where it is not."""
    return f"[red]{value:,}[/]" if value else "0"


def number(value: float | None) -> str:
    """Give a count with its thousands parted.

    Examples
    --------
    >>> number(1234567), number(None)
    ('1,234,567', '')
    """
    return "" if value is None else f"{value:,.0f}"


def counted(count: int, noun: str) -> str:
    """Count things.

    Examples
    --------
    >>> counted(1, "job"), counted(1200, "stuck job"), counted(2, "entry")
    ('1 job', '1,200 stuck jobs', '2 entries')
    """
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def rate(per_s: float) -> str:
    """Give a rate in the unit that fits.

    Examples
    --------
    >>> rate(1234.5), rate(0.34), rate(0.0019), rate(0)
    ('1,234.5/s', '0.3/s', '6.8/h', '0/h')
    """
    if per_s >= 0.1:
        return f"{per_s:,.1f}/s"
    return f"{per_s * 3600:.1f}/h" if per_s else "0/h"


def age(seconds: float | None) -> str:
    """Give a duration in the unit that fits.

    Examples
    --------
    >>> [age(s) for s in (0, 0.4, 59, 90, 5400, 90_000, 864_000)]
    ['0 s', '0.4 s', '59 s', '90 s', '90 min', '25 h', '10 d']
    """
    if seconds is None:
        return ""
    if 0 < seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, size in ((100, "s", 1), (6000, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{max(0.0, seconds) / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def time_of(iso: str | None) -> datetime | None:
    """Read a time of the API."""
    return None if not iso else datetime.fromisoformat(iso)


def since(iso: str | None, now: datetime | None = None) -> str:
    """Say how long ago a time of the API is."""
    then = time_of(iso)
    if then is None:
        return ""
    return age(((now or datetime.now(UTC)) - then).total_seconds())


def until(iso: str | None, now: datetime | None = None) -> str:
    """Say in how much time a time of the API comes; `past` when it has."""
    then = time_of(iso)
    if then is None:
        return ""
    left = (then - (now or datetime.now(UTC))).total_seconds()
    return age(left) if left > 0 else "past"


def latency(seconds: float | None) -> str:
    """Give a latency; milliseconds where a second is too coarse.

    Examples
    --------
    >>> latency(0.0421), latency(3.14159), latency(None)
    ('42 ms', '3.14 s', '')
    """
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def listed(counts: dict[str, Any], nothing: str = "none") -> str:
    """Give counts as words, those that are 0 left out.

    Examples
    --------
    >>> listed({"queued": 1200, "failed": 0, "storing": 3}), listed({})
    ('1,200 queued, 3 storing', 'none')
    """
    return ", ".join(f"{value:,} {name}" for name, value in counts.items() if value) or nothing
