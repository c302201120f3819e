"""Ask a provider over HTTP, and say what became of it in our own errors.

No message holds a URL, a key or anything that a provider wrote freely: it may quote a document.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import urllib3

from embedpipe.adapters.embedders.remote.guard import pool
from embedpipe.adapters.embedders.remote.retry_after import retry_after_s
from embedpipe.errors import (
    ProviderRefusedError,
    ProviderRejectedError,
    ProviderUnavailableError,
)

_ERROR_BYTES = 65_536
_PIECE_BYTES = 1 << 18
#: 409 and 425 say that the moment was wrong, not the request.
_TRANSIENT = frozenset({408, 409, 425, 429})
#: Key, account, model or address: no text is to blame.
_REFUSED = frozenset({401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426})
_BAD_KEY = frozenset({"invalid_api_key", "API_KEY_INVALID"})
#: What some services say with 400 or 429 though it is no fault of a text, nor over soon.
_REFUSALS = _BAD_KEY | {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
    "model_not_found",
    "invalid_model",
    "FAILED_PRECONDITION",
}
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


class KeyRefusedError(ProviderRefusedError):
    """The provider does not know the key."""


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    data: bytes


class Service:
    """One address of a provider. Threads may share it.

    Parameters
    ----------
    name
        The provider, for messages.
    timeout_s
        For the whole answer, from the moment of asking.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        allow_private: bool = False,
        timeout_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        self._name = name
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._pool = pool(url, allow_private=allow_private, timeout_s=timeout_s)
        self._timeout_s = timeout_s
        self._clock = clock

    def ask(self, body: Mapping[str, Any], headers: Mapping[str, str], max_bytes: int) -> Any:
        """Send JSON and give the JSON that comes back.

        Parameters
        ----------
        max_bytes
            A longer answer is not read.

        Raises
        ------
        ProviderUnavailableError, ProviderRefusedError, ProviderRejectedError
        """
        try:
            data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:
            raise ProviderRejectedError("the text has lone surrogates") from None
        with self._translated():
            reply = self._post(data, headers, max_bytes)
            if not 200 <= reply.status < 300:
                raise self._failure(reply)
            if len(reply.data) > max_bytes:
                raise ProviderUnavailableError(f"{self._name} answers more than vectors take")
            return _json(reply.data)

    def close(self) -> None:
        """Close the connections that nobody uses at the moment."""
        self._pool.close()

    def _post(self, data: bytes, headers: Mapping[str, str], max_bytes: int) -> _Reply:
        deadline = self._clock() + self._timeout_s
        response = self._pool.urlopen(
            "POST",
            self._target,
            body=data,
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": "embedpipe",
                **headers,
            },
            redirect=False,
            retries=False,
            preload_content=False,
        )
        is_success = 200 <= response.status < 300
        pieces: list[bytes] = []
        left = max_bytes + 1 if is_success else _ERROR_BYTES
        try:
            while left > 0 and (piece := response.read1(min(left, _PIECE_BYTES))):
                pieces.append(piece)
                left -= len(piece)
                if self._clock() > deadline:
                    raise ProviderUnavailableError(f"{self._name} answers too slowly")
        except BaseException:
            response.close()
            raise
        if left <= 0:
            response.close()
        response.release_conn()
        return _Reply(response.status, response.headers, b"".join(pieces))

    def _failure(self, reply: _Reply) -> Exception:
        try:
            body = _json(reply.data)
        except ValueError:
            body = None
        words = _words(body)
        said = f" ({words[0]})" if words else ""
        message = f"{self._name} answers {reply.status}{said}"
        if reply.status == 401 or _BAD_KEY.intersection(words):
            return KeyRefusedError(message)
        wait_s = retry_after_s(reply.headers, body)
        if 300 <= reply.status < 400:
            return ProviderRefusedError(f"{message}: redirects are not followed")
        if reply.status in _REFUSED or _REFUSALS.intersection(words):
            return ProviderRefusedError(message, retry_after_s=wait_s)
        if reply.status in _TRANSIENT or reply.status >= 500:
            return ProviderUnavailableError(message, retry_after_s=wait_s)
        return ProviderRejectedError(message)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.TimeoutError:
            raise ProviderUnavailableError(f"{self._name} does not answer in time") from None
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            kind = type(exc).__name__
            raise ProviderUnavailableError(f"{self._name} does not answer ({kind})") from None
        except ValueError:
            raise ProviderUnavailableError(f"{self._name} answers no valid JSON") from None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _words(body: Any) -> list[str]:
    """Give the codes of an error, from the fields that hold no free text."""
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return []
    found = [error.get("code"), error.get("type"), error.get("status")]
    details = error.get("details")
    if isinstance(details, list):
        found += [one.get("reason") for one in details if isinstance(one, dict)]
    return [word for word in found if isinstance(word, str) and _WORD.fullmatch(word)]
