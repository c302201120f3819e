"""Where requests can go, whatever a name resolves to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from embedpipe.adapters.embedders.remote import guard
from embedpipe.errors import ProviderRefusedError, ProviderUnavailableError

from tests.integration.providers.fakes import FORMS, FakeProvider, an_embedder, serving

NAME = "provider.test"
PUBLIC = "93.184.215.14"

Resolve = Callable[..., None]


@pytest.fixture
def local() -> Iterator[FakeProvider]:
    """A service on the loopback interface that speaks as OpenAI does."""
    with serving(FORMS["compatible"]) as server:
        yield server


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Let the name resolve to addresses, another list with each look-up."""

    def resolve(*answers: list[str]) -> None:
        left = list(answers)
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
            if host != NAME:
                return real(host, port, *args, **options)
            addresses = left.pop(0) if len(left) > 1 else left[0]
            return [
                (
                    socket.AF_INET6 if ":" in address else socket.AF_INET,
                    socket.SOCK_STREAM,
                    6,
                    "",
                    (address, port),
                )
                for address in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return resolve


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where sockets were opened to; none really is."""
    found: list[tuple[str, int]] = []

    def create_connection(address: tuple[str, int], *args: Any, **options: Any) -> Any:
        found.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(guard, "create_connection", create_connection)
    return found


def ask(server: FakeProvider, url: str, *, allow_private: bool) -> None:
    embedder = an_embedder(server, api_url=url, allow_private_address=allow_private)
    embedder.embed(["a"], "document")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.0.8",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
    ],
)
def test_a_public_name_that_resolves_to_our_own_network_is_not_connected_to(
    local: FakeProvider, resolve: Resolve, opened: list[tuple[str, int]], address: str
) -> None:
    resolve([address])

    with pytest.raises(ProviderRefusedError, match="resolves to"):
        ask(local, f"https://{NAME}/v1/embeddings", allow_private=False)

    assert opened == []


def test_one_bad_address_among_good_ones_is_enough(
    local: FakeProvider, resolve: Resolve, opened: list[tuple[str, int]]
) -> None:
    resolve([PUBLIC, "10.0.0.1"])

    with pytest.raises(ProviderRefusedError):
        ask(local, f"https://{NAME}/v1/embeddings", allow_private=False)

    assert opened == []


def test_the_socket_goes_to_the_address_that_was_checked(
    local: FakeProvider, resolve: Resolve, opened: list[tuple[str, int]]
) -> None:
    # A name that answers a public address to the check and a private one to the connection.
    resolve([PUBLIC], ["127.0.0.1"])

    with pytest.raises(ProviderUnavailableError):
        ask(local, f"https://{NAME}:8443/v1/embeddings", allow_private=False)

    assert opened == [(PUBLIC, 8443)]


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0"])
def test_metadata_is_never_asked(
    local: FakeProvider, resolve: Resolve, opened: list[tuple[str, int]], address: str
) -> None:
    resolve([address])

    for scheme in ("http", "https"):
        with pytest.raises(ProviderRefusedError):
            ask(local, f"{scheme}://{NAME}/v1/embeddings", allow_private=True)

    assert opened == []


def test_nothing_goes_over_the_internet_unencrypted(
    local: FakeProvider, resolve: Resolve, opened: list[tuple[str, int]]
) -> None:
    resolve([PUBLIC])

    with pytest.raises(ProviderRefusedError, match="plain http"):
        ask(local, f"http://{NAME}/v1/embeddings", allow_private=True)

    assert opened == []


def test_a_private_name_is_asked_under_its_name_where_that_is_allowed(
    local: FakeProvider, resolve: Resolve
) -> None:
    resolve(["127.0.0.1"])

    ask(local, f"http://{NAME}:{local.server_port}/v1/embeddings", allow_private=True)

    [asked] = local.asked
    assert asked.headers["host"] == f"{NAME}:{local.server_port}"


def test_the_second_address_is_tried_when_the_first_does_not_answer(
    local: FakeProvider, resolve: Resolve
) -> None:
    resolve(["127.0.0.2", "127.0.0.1"])

    ask(local, f"http://{NAME}:{local.server_port}/v1/embeddings", allow_private=True)

    assert len(local.asked) == 1


def test_a_name_that_does_not_resolve_is_an_outage(
    local: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(ProviderUnavailableError) as raised:
        ask(local, f"https://{NAME}/v1/embeddings", allow_private=False)

    assert not isinstance(raised.value, ProviderRefusedError)


def test_proxies_of_the_environment_are_not_used(
    local: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    an_embedder(local).embed(["a"], "document")

    assert len(local.asked) == 1


def test_a_service_whose_certificate_nobody_vouches_for_is_not_told_the_key(
    local: FakeProvider,
) -> None:
    # TLS against a server that speaks none: what matters is that no request goes out unencrypted.
    with pytest.raises(ProviderUnavailableError) as raised:
        ask(local, f"https://127.0.0.1:{local.server_port}/v1/embeddings", allow_private=True)

    assert not isinstance(raised.value, ProviderRefusedError)
    assert local.asked == []
