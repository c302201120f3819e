"""Query vectors from the embed worker's internal endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import urllib3

from embedpipe.errors import EmbedderUnavailableError

# A worker that starts loads its model for some seconds; one from zero takes minutes.
_RETRY_AFTER_S = 30.0
_LARGEST_ANSWER_BYTES = 1_048_576


class HttpQueryEmbedder:
    """Asks a running embed worker. Threads may share it.

    Whatever goes wrong is EmbedderUnavailableError with the seconds after which to come again: no
    answer, an answer too late, a wrong token, another model, anything but vectors.

    Parameters
    ----------
    url
        Base URL, such as http://127.0.0.1:8081.
    timeout_s
        For the connection and for each wait for a part of the answer, together.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=timeout_s), retries=False, maxsize=4
        )

    def embed_query(self, text: str, fingerprint: str) -> list[float]:
        """Embed a query with the model of that fingerprint, its query prefix added."""
        asked = {"texts": [text], "kind": "query", "fingerprint": fingerprint}
        answer = self._call("POST", "/embed", json.dumps(asked).encode())
        with _translated():
            [vector] = json.loads(answer)["vectors"]
            numbers = [float(value) for value in vector]
        if not numbers or not all(map(isfinite, numbers)):
            raise _unavailable("the embedder gave no vector")
        return numbers

    def check(self) -> None:
        """Raise EmbedderUnavailableError when no query could be embedded now."""
        self._call("GET", "/health", None)

    def _call(self, method: str, path: str, body: bytes | None) -> bytes:
        with _translated():
            response = self._pool.request(
                method,
                self._url + path,
                body=body,
                headers=self._headers,
                redirect=False,
                preload_content=False,
            )
            data: bytes = response.read(_LARGEST_ANSWER_BYTES + 1)
            if len(data) > _LARGEST_ANSWER_BYTES:
                response.close()
            response.release_conn()
        if response.status != 200:
            raise _unavailable(f"the embedder answers {response.status}")
        if len(data) > _LARGEST_ANSWER_BYTES:
            raise _unavailable("the embedder's answer is too large")
        return data


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (urllib3.exceptions.HTTPError, ValueError, TypeError, KeyError) as error:
        raise _unavailable(f"the embedder does not answer ({type(error).__name__})") from None


def _unavailable(message: str) -> EmbedderUnavailableError:
    return EmbedderUnavailableError(message, retry_after_s=_RETRY_AFTER_S)
