"""What all providers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from embedpipe.adapters.embedders.remote.http import KeyRefusedError, Service
from embedpipe.adapters.embedders.remote.vectors import answer_bytes, checked
from embedpipe.errors import ProviderRejectedError, ProviderUnavailableError
from embedpipe.models.known import BatchLimits
from embedpipe.ports.models import Kind, ModelInfo

if TYPE_CHECKING:
    from embedpipe.adapters.embedders.remote.keys import ModelKey
    from embedpipe.ports.models import Floats

#: Few texts of any language have more tokens than this part of their bytes. One that has is in a
#: request that may be refused as too large, and is then asked for again in a smaller one.
_BYTES_PER_TOKEN = 2


class Dialect(Protocol):
    """How a provider is spoken to: where, with which headers, in which JSON."""

    @property
    def url(self) -> str:
        """Where requests go."""
        ...

    @property
    def most_texts(self) -> int | None:
        """Texts that the form of a request allows; None: any number."""
        ...

    def headers(self, key: str) -> Mapping[str, str]:
        """Give the headers that carry the key."""
        ...

    def body(self, texts: Sequence[str], kind: Kind) -> Mapping[str, Any]:
        """Give the JSON of a request. Prefixes are in the texts already."""
        ...

    def rows(self, answer: Any, texts: int) -> Sequence[Any]:
        """Take the vectors, in the order of the texts, out of an answer.

        Raises
        ------
        KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError
            It has another form.
        ProviderRejectedError
            Vectors are missing, or there are several for one text.
        """
        ...


class ProviderEmbedder:
    """A model at one provider. Threads may share it."""

    def __init__(
        self,
        model: ModelInfo,
        dialect: Dialect,
        service: Service,
        key: ModelKey,
        limits: BatchLimits,
    ) -> None:
        self._model = model
        self._dialect = dialect
        self._service = service
        self._key = key
        most = dialect.most_texts
        self._limits = limits if most is None else BatchLimits(most, limits.tokens)

    @property
    def model(self) -> ModelInfo:
        """The model it computes."""
        return self._model

    @property
    def limits(self) -> BatchLimits:
        """What one request may hold."""
        return self._limits

    def requests(self, texts: Sequence[str]) -> list[list[int]]:
        """Part texts into requests that the provider takes: indices, each once, in order."""
        return parted(texts, self._limits)

    def embed(self, texts: Sequence[str], kind: Kind) -> Floats:
        """Ask the provider once; see `ports.RemoteEmbedder`."""
        model = self._model
        prefix = model.query_prefix if kind == "query" else model.document_prefix
        body = self._dialect.body([prefix + text for text in texts], kind)
        answer = self._ask(body, answer_bytes(len(texts), model.dimensions))
        try:
            rows = self._dialect.rows(answer, len(texts))
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError):
            message = f"{model.provider} answers something else than vectors"
            raise ProviderUnavailableError(message) from None
        return checked(rows, texts=len(texts), dimensions=model.dimensions)

    def close(self) -> None:
        """Close idle connections."""
        self._service.close()

    def _ask(self, body: Mapping[str, Any], max_bytes: int) -> Any:
        key = self._key.get()
        try:
            return self._service.ask(body, self._headers(key), max_bytes)
        except KeyRefusedError:
            # It may have been changed since it was read.
            renewed = self._key.renewed(key)
            if renewed is None:
                raise
        return self._service.ask(body, self._headers(renewed), max_bytes)

    def _headers(self, key: str | None) -> Mapping[str, str]:
        return {} if key is None else self._dialect.headers(key)


def parted(texts: Sequence[str], limits: BatchLimits) -> list[list[int]]:
    """Part texts so that no part is over a limit, unless a single text is."""
    parts: list[list[int]] = []
    spent = 0
    for index, text in enumerate(texts):
        tokens = len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN + 1
        if not parts or len(parts[-1]) >= limits.texts or spent + tokens > limits.tokens:
            parts.append([])
            spent = 0
        parts[-1].append(index)
        spent += tokens
    return parts


def in_order(items: Sequence[Mapping[str, Any]], texts: int) -> list[Any]:
    """Put the `embedding` of each item where its `index` says.

    Raises
    ------
    ProviderRejectedError
        An index is missing, stands twice, or belongs to no text.
    """
    found = {int(item["index"]): item["embedding"] for item in items}
    if len(items) != texts or sorted(found) != list(range(texts)):
        raise ProviderRejectedError(f"the provider gave {len(items)} vectors for {texts} texts")
    return [found[index] for index in range(texts)]


def bearer(key: str) -> Mapping[str, str]:
    """Give the header of RFC 6750."""
    return {"Authorization": f"Bearer {key}"}
