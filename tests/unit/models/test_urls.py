from __future__ import annotations

import ipaddress

import pytest
from embedpipe.models.urls import check_url, is_public, refusal

PUBLIC_URLS = [
    "https://api.openai.com/v1/embeddings",
    "https://api.openai.com:8443/v1/embeddings",
    "https://my-gateway.example.com/openai/v1/embeddings?api-version=2026-01-01",
    "https://xn--bcher-kva.example/v1/embeddings",
    "https://1e100.example/v1",
    "https://8.8.8.8/v1/embeddings",
    "https://[2001:4860:4860::8888]/v1/embeddings",
    "https://host.example./v1",
]

#: Every one of them is this machine, a neighbour or a cloud's metadata, or may become so.
REFUSED_URLS = [
    "http://api.openai.com/v1/embeddings",
    "ftp://api.openai.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "//127.0.0.1/",
    "api.openai.com/v1",
    "",
    "https://",
    "https:///v1",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0X7F.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://0/",
    "https://0.0.0.0/",
    "https://127.0.0.1./",
    "https://127.000.000.001/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.170.2/v2/credentials",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://192.0.0.8/",
    "https://198.18.0.1/",
    "https://192.0.2.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://256.256.256.256/",
    "https://1.2.3.4.5/",
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fd20:ce::254]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://[::1/",
    "https://user@api.openai.com/",
    "https://user:secret@api.openai.com/",
    "https://api.openai.com@127.0.0.1/",
    "https://api.openai.com#@127.0.0.1/",
    "https://127.0.0.1#.api.openai.com/",
    "https://api.openai.com\\@127.0.0.1/",
    "https://api.openai.com /",
    "https://api.openai.com\n.example/",
    "https://api.openai.com\x00.example/",
    "https://api.openai.com\t/",
    "https://\u24d0pi.example/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://127\u30020\u30020\u30021/",
    "https://api.openai.com:0/",
    "https://api.openai.com:99999/",
    "https://api.openai.com:port/",
    "https://api..openai.com/",
    "https://.openai.com/",
    "https://-api.openai.com/",
    "https://api%2eopenai.com/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 130 + "example/",
    "https://example.com/" + "a" * 2048,
]


def test_the_corpus_is_large_and_has_nothing_twice() -> None:
    assert len(REFUSED_URLS) == len(set(REFUSED_URLS))
    assert len(REFUSED_URLS) >= 60


@pytest.mark.parametrize("url", PUBLIC_URLS)
def test_a_public_address_may_be_asked(url: str) -> None:
    check_url(url, allow_private=False)


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_what_is_not_plainly_public_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:11434/api/embed",
        "http://127.0.0.1:8080/v1/embeddings",
        "http://[::1]:8080/v1/embeddings",
        "http://192.168.1.20/v1/embeddings",
        "https://embedder.internal/v1/embeddings",
        "http://ollama:11434/api/embeddings",
        "http://[fd12:3456::1]/v1/embeddings",
    ],
)
def test_our_own_network_may_be_asked_where_that_is_allowed(url: str) -> None:
    check_url(url, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://100.100.100.200/",
        "http://168.63.129.16/",
        "http://2852039166/",
        "http://0.0.0.0/",
        "http://0/",
        "http://224.0.0.1/",
        "http://user:secret@127.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_metadata_and_tricks_are_refused_even_there(url: str) -> None:
    with pytest.raises(ValueError):
        check_url(url, allow_private=True)


def test_a_refusal_does_not_quote_the_url() -> None:
    with pytest.raises(ValueError) as raised:
        check_url("https://user:hunter2@example.com/", allow_private=False)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("address", ["64:ff9b::808:808", "2002:808:808::1", "8.8.8.8"])
def test_a_public_address_in_another_form_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    assert refusal(ipaddress.ip_address(address), allow_private=False) is None
