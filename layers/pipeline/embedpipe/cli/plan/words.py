"""Numbers for people."""

from __future__ import annotations

import math

_DIGITS = 3


def amount(value: float) -> str:
    """Give three digits, and all of a large number's before the point.

    Examples
    --------
    >>> amount(12345.6), amount(12.345), amount(0.0012345), amount(7), amount(0)
    ('12,346', '12.3', '0.00123', '7', '0')
    """
    if value == int(value):
        return f"{int(value):,}"
    places = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def dollars(value: float) -> str:
    """Give dollars and cents, and no cents from a thousand on.

    Examples
    --------
    >>> dollars(1.234), dollars(1234.5), dollars(0.004)
    ('1.23', '1,234', '0.00')
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def span(seconds: float) -> str:
    """Give a time in the unit that suits it.

    Examples
    --------
    >>> span(0.0023), span(2.5), span(457.4), span(float("inf"))
    ('2.3 ms', '2.50 s', '457 s', '-')
    """
    if math.isinf(seconds):
        return "-"
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"
