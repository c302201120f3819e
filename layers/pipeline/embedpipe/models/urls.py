"""Which addresses a provider may have: never one of our own network by mistake or by trick."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
#: Resolvers read such a last label as a number: 2130706433, 0x7f.1 and 0177.1 are 127.0.0.1.
_NUMBER = re.compile(r"([0-9]+|0[xX][0-9A-Fa-f]*)\.?$")
_MAX_URL = 2048

#: Where clouds keep the credentials of a machine. Never asked, whatever an entry allows.
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "169.254.0.0/16",
            "fe80::/10",
            "fd00:ec2::/32",
            "fd20:ce::254/128",
            "100.100.100.200/32",
            "168.63.129.16/32",
            "192.0.0.192/32",
        ),
    )
)
# What some versions of Python call global, and what is no host at all.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48")))
# All of IPv6 that has been given out: what lies outside is not routed, or not for everybody.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def check_url(url: str, *, allow_private: bool) -> None:
    """Check an address as far as it can be without a look-up.

    Raises
    ------
    ValueError
        With what is wrong with it; the URL itself is not quoted.
    """
    if len(url) > _MAX_URL or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise ValueError("it has characters that do not belong in a URL; write a host as ASCII")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must begin with https://")
    if parts.scheme == "http" and not allow_private:
        raise ValueError("plain http goes only where allow_private_address is true")
    if "@" in parts.netloc:
        raise ValueError("it must hold no user name or password")
    if parts.fragment or "#" in url:
        raise ValueError("it must have no fragment")
    port = parts.port  # raises ValueError when it is no port
    if port == 0:
        raise ValueError("it must have a port above 0")
    _check_host(parts.hostname or "", allow_private=allow_private)


def _check_host(host: str, *, allow_private: bool) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if _NUMBER.search(host.rpartition(".")[2] or host):
            raise ValueError("its host is a number in a form of its own") from None
        if len(host) > 253 or not _HOST.fullmatch(host):
            raise ValueError("its host is not a name") from None
        return
    if (why := refusal(address, allow_private=allow_private)) is not None:
        raise ValueError(f"its host is {why}")


def refusal(address: Address, *, allow_private: bool) -> str | None:
    """Say what kind of address this is if it must not be asked, None if it may be."""
    for one in (address, *_embedded(address)):
        if any(one in network for network in _METADATA):
            return "a link-local or metadata address"
        if one.is_multicast or one.is_unspecified:
            return "not the address of a host"
        if not allow_private and not is_public(one):
            return "not a public address"
    return None


def is_public(address: Address) -> bool:
    """Say whether an address is one of the public Internet, also what is embedded in it."""
    return all(
        one.is_global
        and not one.is_multicast
        and not one.is_reserved
        and not any(one in network for network in _SPECIAL)
        and (one.version == 4 or one in _UNICAST)
        for one in (_without_translation(address), *_embedded(address))
    )


def _without_translation(address: Address) -> Address:
    # Python's versions differ on whether these are global: what counts is what is embedded.
    embedded = _embedded(address)
    return embedded[0] if embedded else address


def _embedded(address: Address) -> list[Address]:
    """Give the IPv4 addresses that an IPv6 address stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return [ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    return list(address.teredo or ())
