"""A guarded connection over TLS: to the checked address, under the provider's name."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from embedpipe.errors import ProviderRefusedError, ProviderUnavailableError

from tests.integration.providers.fakes import FORMS, FakeProvider, an_embedder, serving

NAME = "provider.test"


def a_certificate(path: Path) -> Path:
    """Write a certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def names() -> list[str | None]:
    """The server names that clients asked for."""
    return []


@pytest.fixture
def server(
    tmp_path: Path, names: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeProvider]:
    """A provider over TLS, whose certificate this machine trusts, and all names lead to it."""
    path = a_certificate(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.sni_callback = lambda connection, name, _: names.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with serving(FORMS["openai"]) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)

        def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield server


def ask(server: FakeProvider, name: str, *, allow_private: bool = True) -> None:
    url = f"https://{name}:{server.server_port}/v1/embeddings"
    an_embedder(server, api_url=url, allow_private_address=allow_private).embed(["a"], "query")


def test_the_provider_is_asked_under_its_name(
    server: FakeProvider, names: list[str | None]
) -> None:
    ask(server, NAME)

    assert names == [NAME]
    assert server.asked[0].headers["host"] == f"{NAME}:{server.server_port}"


def test_a_certificate_of_another_name_gets_no_key(server: FakeProvider) -> None:
    with pytest.raises(ProviderUnavailableError) as raised:
        ask(server, "other.test")

    assert not isinstance(raised.value, ProviderRefusedError)
    assert server.asked == []


def test_a_certificate_that_nobody_trusts_gets_no_key(
    server: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(a_certificate(tmp_path / "another.pem")))

    with pytest.raises(ProviderUnavailableError):
        ask(server, NAME)

    assert server.asked == []


def test_a_private_address_is_not_even_greeted(
    server: FakeProvider, names: list[str | None]
) -> None:
    with pytest.raises(ProviderRefusedError):
        ask(server, NAME, allow_private=False)

    assert names == []
