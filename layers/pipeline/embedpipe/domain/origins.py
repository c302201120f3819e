"""Origins of web pages, as browsers send them."""

from __future__ import annotations

import re

ANY = "*"

# A scheme, a host in ASCII or an IPv6 address, and a port: what RFC 6454 makes of a URL.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def parse_origins(text: str) -> frozenset[str]:
    """Read origins that are separated by commas, or `*` alone; none in an empty text.

    Raises
    ------
    ValueError
        One is not written as a browser writes it, and would never be met.
    """
    origins = [one.strip() for one in text.split(",") if one.strip()]
    if ANY in origins and len(origins) > 1:
        raise ValueError("* allows every origin, so that no other can stand beside it")
    for origin in origins:
        if origin != ANY:
            _check(origin)
    return frozenset(origins)


def _check(origin: str) -> None:
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        raise ValueError(
            f"{origin!r} is no origin: scheme://host or scheme://host:port in lower case, with "
            "nothing behind it, no slash either"
        )
    if found["port"] is not None and found["port"] == _DEFAULT_PORTS.get(found["scheme"]):
        raise ValueError(f"{origin!r} is never sent: browsers leave the port of the scheme out")
