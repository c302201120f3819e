from __future__ import annotations

import pytest
from embedpipe.domain.origins import parse_origins


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", set()),
        (" , ", set()),
        ("*", {"*"}),
        ("https://app.example.com", {"https://app.example.com"}),
        (
            "https://a.example, http://localhost:3000,http://[::1]:8080",
            {"https://a.example", "http://localhost:3000", "http://[::1]:8080"},
        ),
        ("chrome-extension://abcdef,http://127.0.0.1:443", None),
    ],
)
def test_origins_are_read(text: str, origins: set[str] | None) -> None:
    assert parse_origins(text) == (origins if origins is not None else set(text.split(",")))


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://App.example.com",
        "https://*.example.com",
        "app.example.com",
        "null",
        "https://",
        "https://user@example.com",
        "https://example.com:0",
        "https://example.com\r\nX: y",
        "https://ex ample.com",
        "https://bücher.example",
    ],
)
def test_what_no_browser_sends_is_refused_and_named(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin: scheme://host") as caught:
        parse_origins(f"https://fine.example,{origin}")

    assert repr(origin) in str(caught.value)


@pytest.mark.parametrize("origin", ["https://example.com:443", "http://localhost:80"])
def test_the_port_of_the_scheme_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="leave the port of the scheme out"):
        parse_origins(origin)


def test_every_origin_leaves_no_room_for_one() -> None:
    with pytest.raises(ValueError, match="no other can stand beside it"):
        parse_origins("*,https://example.com")
