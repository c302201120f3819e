"""The API as the command line uses it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

BASE = "/api/v1"
DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 60.0
# How long a busy API is asked again before we give up.
PATIENCE_S = 300.0
_BUSY = (429, 503)


class ApiError(Exception):
    """The API refused; `code` is stable."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail


class UnreachableError(Exception):
    """No API answers at the URL."""

    def __init__(self, url: str) -> None:
        super().__init__(f"no API answers at {url}")


class Api:
    """A client with one connection pool; threads may share it.

    Parameters
    ----------
    patience_s
        How long 429 and 503 are waited out in all, as their Retry-After asks.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        self._sleep = sleep
        self._client = httpx.Client(
            base_url=self.url + BASE,
            headers={"X-API-KEY": key},
            timeout=TIMEOUT_S,
            transport=transport,
            # The API is ours; a proxy of the environment is for other hosts.
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        accepted: tuple[int, ...] = (),
        patience_s: float | None = None,
    ) -> Any:
        """Send a request and give the JSON of its answer.

        A request that may be repeated, by its method or its Idempotency-Key, is sent again when the
        connection broke.

        Parameters
        ----------
        accepted
            Statuses whose answer is wanted although they are no success.
        patience_s
            How long a busy API is waited for, other than by default.

        Raises
        ------
        ApiError
            It was refused, or the API stayed busy for too long.
        UnreachableError
            Nothing answers.
        """
        repeatable = method == "GET" or "Idempotency-Key" in (headers or {})
        waited_s = 0.0
        patience_s = self._patience_s if patience_s is None else patience_s
        while True:
            request = self._client.build_request(
                method, path, json=json, params=params, headers=headers
            )
            answer = self._send(request, attempts=4 if repeatable else 1)
            if answer.is_success or answer.status_code in accepted:
                return answer.json() if answer.content else None
            if answer.status_code not in _BUSY or waited_s >= patience_s:
                raise error_of(answer)
            pause_s = min(_retry_after_s(answer), patience_s)
            waited_s += pause_s
            self._sleep(pause_s)

    def _send(self, request: httpx.Request, attempts: int) -> httpx.Response:
        for attempt in range(1, attempts + 1):
            try:
                return self._client.send(request)
            except httpx.ConnectError:
                break
            except httpx.TransportError:
                if attempt < attempts:
                    self._sleep(0.5 * attempt)
        raise UnreachableError(self.url)

    def submit(self, document: dict[str, Any], idempotency_key: str) -> dict[str, Any]:
        """Post a document; give the admitted job."""
        headers = {"Idempotency-Key": idempotency_key}
        answer: dict[str, Any] = self.call(
            "POST", "/embeddings/jobs", json=document, headers=headers
        )
        return answer

    def jobs(
        self,
        *,
        status: str | None = None,
        collection: str | None = None,
        page: int = 100,
    ) -> Iterator[dict[str, Any]]:
        """List jobs, newest first, page by page as they are asked for."""
        params: dict[str, Any] = {"limit": page}
        params |= {"status": status} if status else {}
        params |= {"collection": collection} if collection else {}
        while True:
            listing = self.call("GET", "/embeddings/jobs", params=params)
            yield from listing["items"]
            if listing["cursor"] is None:
                return
            params["cursor"] = listing["cursor"]

    def search(self, collection: str, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Search a collection; give the hits, best first."""
        path = f"/vector_stores/{quote(collection, safe='')}/search"
        results: list[dict[str, Any]] = self.call("POST", path, json=request)["results"]
        return results


def error_of(answer: httpx.Response) -> ApiError:
    """Read a problem document, or make the best of another body."""
    try:
        problem = answer.json()
        return ApiError(answer.status_code, problem["code"], problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ApiError(answer.status_code, f"HTTP_{answer.status_code}", answer.reason_phrase)


def _retry_after_s(answer: httpx.Response) -> float:
    value = answer.headers.get("retry-after", "")
    return max(0.1, float(value)) if value.replace(".", "", 1).isdigit() else 1.0


def find_url(given: str | None, data_dir: Path) -> str:
    """Give the API's URL: as given, EMBEDPIPE_URL, the running local cloud's, or the default."""
    from embedpipe.local.directory import DataDirectory

    found = given or os.environ.get("EMBEDPIPE_URL")
    return found or str(DataDirectory(data_dir).endpoint().get("url", DEFAULT_URL))


def find_key(data_dir: Path) -> str | None:
    """Give the API key: SINGLE_USER_API_KEY, or the data directory's; None when there is none."""
    if key := os.environ.get("SINGLE_USER_API_KEY"):
        return key
    path = data_dir.expanduser() / "api_key"
    return path.read_text().strip() if path.is_file() else None
