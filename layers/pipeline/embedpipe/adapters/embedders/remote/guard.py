"""Connections that go only where the address allows it, decided on what the name resolved to.

A check before the connection would be of no use: the name may resolve to another address a moment
later. So each address is checked after the look-up, and the socket is opened to that very address;
Host header, server name and certificate stay those of the name. Proxies of the environment are not
used, as urllib3 reads none.
"""

from __future__ import annotations

import ipaddress
import socket

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection
from urllib3.util.url import parse_url

from embedpipe.errors import ProviderRefusedError
from embedpipe.models.urls import is_public, refusal


class _Guarded(HTTPConnection):
    allow_private = False

    def _new_conn(self) -> socket.socket:
        addresses = self._resolved()
        for address in addresses:
            self._check(address)
        failure: OSError | None = None
        for address in addresses:
            try:
                return create_connection(
                    (address, self.port), self.timeout, socket_options=self.socket_options
                )
            except OSError as exc:
                failure = exc
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "timed out") from failure
        raise NewConnectionError(self, "cannot connect") from failure

    def _resolved(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            reason = exc if isinstance(exc, socket.gaierror) else socket.gaierror()
            raise NameResolutionError(self.host, self, reason) from exc
        return list(dict.fromkeys(str(one[4][0]) for one in found))

    def _check(self, address: str) -> None:
        why = refusal(ipaddress.ip_address(address), allow_private=self.allow_private)
        if why is not None:
            raise ProviderRefusedError(f"the provider's name resolves to {why}")


class _PublicHttps(_Guarded, HTTPSConnection):
    """To the public Internet."""


class _PrivateHttps(_Guarded, HTTPSConnection):
    """Also to our own network."""

    allow_private = True


class _PrivateHttp(_Guarded):
    """To our own network alone: nothing goes over the Internet unencrypted."""

    allow_private = True

    def _check(self, address: str) -> None:
        super()._check(address)
        if is_public(ipaddress.ip_address(address)):
            raise ProviderRefusedError("plain http goes to private addresses only")


def pool(url: str, *, allow_private: bool, timeout_s: float) -> urllib3.HTTPConnectionPool:
    """Give guarded connections to the host of a URL. Threads may share them.

    Parameters
    ----------
    timeout_s
        For connecting, and for each wait for a part of the answer.
    """
    parts = parse_url(url)
    timeout = urllib3.Timeout(connect=min(timeout_s, 10.0), read=timeout_s)
    host = (parts.host or "").strip("[]")
    if parts.scheme == "https":
        secure = urllib3.HTTPSConnectionPool(
            host, parts.port or 443, timeout=timeout, maxsize=16, retries=False
        )
        secure.ConnectionCls = _PrivateHttps if allow_private else _PublicHttps
        return secure
    plain = urllib3.HTTPConnectionPool(
        host, parts.port or 80, timeout=timeout, maxsize=16, retries=False
    )
    plain.ConnectionCls = _PrivateHttp
    return plain
