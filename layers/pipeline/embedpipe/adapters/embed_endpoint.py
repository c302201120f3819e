"""Vectors from the embed worker's internal endpoint."""

from __future__ import annotations

import json
import sys
from array import array
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import urllib3

from embedpipe.adapters.embed_endpoint_errors import error_of, unavailable
from embedpipe.errors import InvalidInputError, NotFoundError
from embedpipe.ports.models import Kind, ModelInfo
from embedpipe.ports.synchronous import Embedded, HeldModel, Inputs, WarmUp

_SMALL_ANSWER_BYTES = 1_048_576
_BYTES_PER_INPUT = 32
# A worker that takes no connection within this is not there, or has no processor time.
_CONNECT_S = 3.0
# What the way there and back may take beyond what the worker was told.
_ON_THE_WAY_S = 1.0


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_after: str | None


class HttpEmbedder:
    """Asks a running embed worker. Threads may share it.

    Whatever goes wrong on its side is EmbedderUnavailableError with the seconds after which to come
    again: no answer, an answer too late, a wrong token, another model, anything but vectors.

    Parameters
    ----------
    url
        Base URL, such as http://127.0.0.1:8081.
    timeout_s
        How long a search waits for the vector of its query, and anybody to hear how it is.
    work_timeout_s
        How long everything else may take.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 10.0,
        work_timeout_s: float = 25.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout_s = timeout_s
        self._work_timeout_s = work_timeout_s
        self._pool = urllib3.PoolManager(retries=False, maxsize=4)

    def embed_query(
        self,
        text: str,
        fingerprint: str,
        *,
        model_id: str | None = None,
        tenant_id: str = "",
    ) -> list[float]:
        """Embed a query with the model of that fingerprint, its query prefix added."""
        asked = {
            "model_id": model_id,
            "fingerprint": fingerprint,
            "inputs": [text],
            "kind": "query",
            "tenant_id": tenant_id,
            "timeout_s": self._timeout_s,
        }
        try:
            answer = self._ask("/embed", asked, self._timeout_s, _SMALL_ANSWER_BYTES)
        except InvalidInputError as error:
            if error.code == "INPUT_TOO_LONG":
                raise InvalidInputError(
                    error.message, code="TEXT_TOO_LONG", field="query"
                ) from None
            raise unavailable("the embedder refuses the query") from None
        except NotFoundError:
            raise unavailable("the embedder has no such model") from None
        numbers = _numbers(_embedded(answer, fingerprint, inputs=1).vectors)
        return numbers.tolist()

    def embed(
        self,
        model: ModelInfo,
        inputs: Inputs,
        *,
        kind: Kind = "document",
        dimensions: int | None = None,
        tenant_id: str = "",
        timeout_s: float | None = None,
    ) -> Embedded:
        """Compute some inputs now."""
        timeout_s = min(timeout_s or self._work_timeout_s, self._work_timeout_s)
        asked = {
            "model_id": model.model_id,
            "fingerprint": model.fingerprint,
            "inputs": list(inputs),
            "kind": kind,
            "dimensions": dimensions,
            "tenant_id": tenant_id,
            "timeout_s": timeout_s,
        }
        # Base64 has four characters for three bytes.
        vectors_bytes = len(inputs) * ((dimensions or model.dimensions) * 4 * 4 // 3 + 4)
        limit_bytes = _SMALL_ANSWER_BYTES + vectors_bytes + len(inputs) * _BYTES_PER_INPUT
        try:
            answer = self._ask("/embed", asked, timeout_s, limit_bytes)
        except NotFoundError:
            raise unavailable("the embedder has no such model") from None
        embedded = _embedded(answer, model.fingerprint, inputs=len(inputs))
        if embedded.dimensions != (dimensions or model.dimensions):
            raise unavailable("the embedder gave vectors of other dimensions")
        return embedded

    def models(self) -> list[HeldModel]:
        """List what is in memory."""
        answer = self._answered("GET", "/models", None, self._timeout_s)
        with _translated():
            held = [one["loaded"] for one in json.loads(answer)["models"]]
            names = [field.name for field in fields(HeldModel)]
            return [HeldModel(**{name: one[name] for name in names}) for one in held if one]

    def warm_up(self, provider: str, model_id: str) -> WarmUp:
        """Load a model, or find it being loaded still when the time is over."""
        asked = {"provider": provider, "model_id": model_id, "timeout_s": self._work_timeout_s}
        answer = self._ask("/models/warmup", asked, self._work_timeout_s, _SMALL_ANSWER_BYTES)
        with _translated():
            told = json.loads(answer)
            return WarmUp(
                str(told["model_id"]),
                str(told["provider"]),
                told["state"],
                float(told["milliseconds"]),
            )

    def check(self) -> None:
        """Raise EmbedderUnavailableError when nothing could be embedded now."""
        self._answered("GET", "/health", None, self._timeout_s)

    def _ask(self, path: str, asked: dict[str, Any], timeout_s: float, limit_bytes: int) -> bytes:
        body = json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()
        return self._answered("POST", path, body, timeout_s + _ON_THE_WAY_S, limit_bytes)

    def _answered(
        self,
        method: str,
        path: str,
        body: bytes | None,
        timeout_s: float,
        limit_bytes: int = _SMALL_ANSWER_BYTES,
    ) -> bytes:
        answer = self._call(method, path, body, timeout_s, limit_bytes)
        if answer.status not in (200, 202):
            raise error_of(answer.status, answer.body, answer.retry_after)
        if len(answer.body) > limit_bytes:
            raise unavailable("the embedder's answer is too large")
        return answer.body

    def _call(
        self, method: str, path: str, body: bytes | None, timeout_s: float, limit_bytes: int
    ) -> _Answer:
        connect_s = min(_CONNECT_S, timeout_s)
        with _translated():
            response = self._pool.request(
                method,
                self._url + path,
                body=body,
                headers=self._headers,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(total=timeout_s, connect=connect_s),
            )
            data: bytes = response.read(limit_bytes + 1)
            if len(data) > limit_bytes:
                response.close()
            response.release_conn()
            return _Answer(response.status, data, response.headers.get("Retry-After"))


def _embedded(answer: bytes, fingerprint: str, *, inputs: int) -> Embedded:
    with _translated():
        told = json.loads(answer)
        embedded = Embedded(
            model_id=str(told["model_id"]),
            fingerprint=str(told["fingerprint"]),
            provider=str(told["provider"]),
            dimensions=int(told["dimensions"]),
            tokens=[int(count) for count in told["tokens"]],
            vectors=b64decode(told["vectors"], validate=True),
        )
    width = embedded.dimensions
    expected = width > 0 and len(embedded.vectors) == 4 * inputs * width
    if not expected or len(embedded.tokens) != inputs or embedded.fingerprint != fingerprint:
        raise unavailable("the embedder's answer does not belong to the request")
    if not all(map(isfinite, _numbers(embedded.vectors))):
        raise unavailable("the embedder gave no vector")
    return embedded


def _numbers(vectors: bytes) -> array[float]:
    numbers = array("f", vectors)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (urllib3.exceptions.HTTPError, ValueError, TypeError, KeyError) as error:
        raise unavailable(f"the embedder does not answer ({type(error).__name__})") from None
