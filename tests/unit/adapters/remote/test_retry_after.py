from __future__ import annotations

from typing import Any

import pytest
from embedpipe.adapters.embedders.remote.retry_after import MOST_S, retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"RETRY-AFTER": " 1.5 "}, 1.5),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "1e9"}, MOST_S),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Tue, 99 Nov 2023 22:13:50 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"x-ratelimit-reset-requests": "12ms"}, 0.012),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "149984",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            2.0,
        ),
        ({"x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5 if MOST_S > 3723.5 else MOST_S),
        ({"x-ratelimit-reset-requests": "2 apples"}, None),
        ({"ratelimit-reset": "7", "ratelimit-remaining": "0"}, 7.0),
        ({"x-ratelimit-reset": str(NOW + 9)}, 9.0),
        ({"ratelimitbysize-reset": "21", "ratelimitbysize-remaining": "0"}, 21.0),
        ({"Retry-After": "3", "x-ratelimit-reset-tokens": "9s"}, 3.0),
    ],
)
def test_the_wait_is_read_from_headers(headers: dict[str, str], expected_s: float | None) -> None:
    found = retry_after_s(headers, None, now=NOW)

    assert found == (None if expected_s is None else pytest.approx(expected_s))


@pytest.mark.parametrize(
    ("body", "expected_s"),
    [
        ({"error": {"details": [{"@type": "x"}, {"retryDelay": "34.07s"}]}}, 34.07),
        ({"error": {"details": [{"retryDelay": "soon"}]}}, None),
        ({"error": {"details": [{"retryDelay": 3}]}}, 3.0),
        ({"error": {"details": [{"retryDelay": {}}]}}, None),
        ({"error": {"details": "x"}}, None),
        ({"error": "x"}, None),
        ([], None),
        ("x", None),
    ],
)
def test_the_wait_is_read_from_googles_body(body: Any, expected_s: float | None) -> None:
    assert retry_after_s({}, body, now=NOW) == expected_s
