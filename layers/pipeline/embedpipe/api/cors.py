"""Who may call from a page in a browser: cross-origin resource sharing, by the Fetch standard.

Powertools' CORSConfig does not do: it is fixed before settings are read, names no `Vary`, sends the
preflight's headers with every answer, and promises every path the methods of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from embedpipe.api.auth import HEADER
from embedpipe.api.reading import Headers
from embedpipe.api.submission import IDEMPOTENCY_KEY
from embedpipe.domain.origins import ANY, parse_origins

#: What callers send, beside what needs no leave. OpenAI's clients name themselves, and perhaps an
#: account, of which nothing is read; Firefox and Safari ask for leave to send that name.
ALLOW_HEADERS = (
    HEADER,
    "Authorization",
    "Content-Type",
    IDEMPOTENCY_KEY,
    "OpenAI-Organization",
    "OpenAI-Project",
    "User-Agent",
    "traceparent",
)
#: What a page may read of an answer, beside the few headers that it always may.
EXPOSE_HEADERS = (
    "Allow",
    "Idempotency-Replayed",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Embeddings-Model",
    "X-Embeddings-Provider",
    "X-Trace-Id",
    "traceparent",
)
#: Chromium keeps an answer to a preflight no longer.
MAX_AGE_S = 7200

# OpenAI's clients tell of themselves in a dozen headers, and more with every version.
_TELLTALE = re.compile(r"x-stainless-[a-z-]{1,40}")


@dataclass(frozen=True)
class Cors:
    """The origins that may call; without any, browsers let no page of elsewhere read an answer.

    Credentials of the browser's, its cookies, are never asked for: keys travel in headers.
    """

    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str | None) -> Cors:
        """Read the setting. Raises ValueError."""
        return cls(parse_origins(text or ""))

    def headers(self, headers: Headers) -> dict[str, str]:
        """Give what an answer to a request with these headers carries, whatever it is."""
        if not self.origins:
            return {}
        exposed = {"Access-Control-Expose-Headers": ", ".join(EXPOSE_HEADERS)}
        if ANY in self.origins:
            return {"Access-Control-Allow-Origin": ANY} | exposed
        # For who has no origin as well: a cache must not give that answer to a page.
        vary = {"Vary": "Origin"}
        origin = _origin(headers)
        if origin not in self.origins:
            return vary
        return {"Access-Control-Allow-Origin": origin} | exposed | vary

    def is_preflight(self, method: object, headers: Headers) -> bool:
        """Say whether a browser asks before a request that it would be let make."""
        return (
            method == "OPTIONS"
            and "access-control-request-method" in headers
            and (_origin(headers) in self.origins or (ANY in self.origins and "origin" in headers))
        )

    def preflight(self, headers: Headers, methods: Iterable[str]) -> dict[str, str]:
        """Give what the answer to a preflight carries beside `headers`."""
        asked = ",".join(headers.get("access-control-request-headers", [])).lower().split(",")
        telltales = {name.strip() for name in asked if _TELLTALE.fullmatch(name.strip())}
        return {
            "Access-Control-Allow-Methods": ", ".join(sorted(methods)),
            "Access-Control-Allow-Headers": ", ".join([*ALLOW_HEADERS, *sorted(telltales)]),
            "Access-Control-Max-Age": str(MAX_AGE_S),
        }


def _origin(headers: Headers) -> str:
    """Give the origin, empty without one; of two one is not the browser's."""
    given = headers.get("origin", [])
    return given[0] if len(given) == 1 else ""
