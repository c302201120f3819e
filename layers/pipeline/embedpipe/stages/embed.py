"""Embed stage: token ids into vectors; one input that the model cannot compute fails alone."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING, TypeVar

from embedpipe.domain.tokens import unpack
from embedpipe.errors import (
    BadVectorError,
    MalformedMessageError,
    ModelMismatchError,
    PermanentError,
    PoisonChunkError,
    TransientError,
)
from embedpipe.messages import EmbedRequested, StoreRequested
from embedpipe.ports import ModelInfo, Tokenizer

if TYPE_CHECKING:
    from embedpipe.ports.models import Floats

Ids = Sequence[int]
Input = TypeVar("Input", Ids, str)

_ALLOCATION_FAILURES = (
    "failed to allocate memory",
    "bad allocation",
    "std::bad_alloc",
    "out of memory",
    "available memory of",
)


def token_ids(message: EmbedRequested, model: ModelInfo) -> list[Ids]:
    """Give what the model is to compute for a message.

    Raises
    ------
    ModelMismatchError
        The message was made for another model.
    MalformedMessageError
        The token block is damaged, or an input is longer than the model takes.
    """
    if message.fingerprint != model.fingerprint:
        raise ModelMismatchError
    if message.tokens is None:
        raise MalformedMessageError("tokens: missing, and the model takes nothing else")
    return list(unpack(message.tokens, max_tokens=model.max_tokens))


def embed_each(
    inputs: Sequence[Input],
    *,
    run: Callable[[Sequence[Input]], Floats],
    on_memory_error: Callable[[], None] = lambda: None,
    max_runs: float = inf,
) -> list[Floats | Exception]:
    """Compute one inference batch; where that fails, find out which inputs it is.

    A failing batch is halved until the failing input stands alone: at most k * (2 * log2(n) + 1)
    runs for k bad inputs of n. A TransientError is no input's fault, and fails all that were
    computed together.

    Parameters
    ----------
    on_memory_error
        Called when the runtime had not enough memory, so that later batches are made smaller.
    max_runs
        After so many, what fails fails together.

    Returns
    -------
    For each input its vector, shape (dimensions,), float32, or the error that it is to fail with:
    PoisonChunkError or what permanent error the model gave instead, BadVectorError, or a
    TransientError, OUT_OF_MEMORY where even one input alone had not enough memory.
    """
    results: dict[int, Floats | Exception] = {}
    parts = [range(len(inputs))]
    runs = 0
    while parts:
        part = parts.pop()
        runs += 1
        try:
            vectors = run([inputs[i] for i in part])
        except (KeyboardInterrupt, SystemExit):
            raise
        # A Rust panic derives from BaseException.
        except BaseException as error:  # noqa: BLE001
            if is_memory_error(error):
                on_memory_error()
            if len(part) == 1 or runs >= max_runs or isinstance(error, TransientError):
                results.update(dict.fromkeys(part, _alone(error)))
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
        else:
            for i, vector in zip(part, checked(vectors), strict=True):
                results[i] = vector
    return [results[i] for i in range(len(inputs))]


def answer(message: EmbedRequested, vectors: Floats) -> StoreRequested:
    """Give the store message for computed vectors, shape (chunks, dimensions)."""
    return StoreRequested(
        **message.model_dump(
            exclude={"msg_version", "msg_schema", "schema_url", "operation_id", "created_at"}
            | {"tokens", "texts"}
        ),
        operation_id=message.operation_id,
        dimensions=vectors.shape[1],
        vectors=base64.b64encode(vectors.astype("<f4").tobytes()).decode("ascii"),
    )


def encode_query(text: str, tokenizer: Tokenizer) -> list[int]:
    """Give the ids of a search query: prefix added, cut to what the model takes.

    Cut as sentence-transformers does: the first tokens stay, and the special tokens around them.
    """
    model = tokenizer.model
    prefixed = model.query_prefix + text
    [ids] = tokenizer.encode([prefixed])
    if len(ids) <= model.max_tokens:
        return ids
    plain = tokenizer.offsets(prefixed).ids
    leading = next(
        (at for at in range(model.special_tokens + 1) if ids[at : at + len(plain)] == plain), 0
    )
    trailing = max(len(ids) - leading - len(plain), 0)
    return ids[: model.max_tokens - trailing] + ids[len(ids) - trailing :]


def encode_document(text: str, tokenizer: Tokenizer) -> list[int]:
    """Give the ids of a text that is not a query: prefix added, never cut."""
    [ids] = tokenizer.encode([tokenizer.model.document_prefix + text])
    return ids


def as_exception(error: BaseException) -> Exception:
    """Give an error that may be settled: a Rust panic is no Exception, but harms one message."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


def checked(vectors: Floats) -> list[Floats | Exception]:
    """Give BadVectorError in the place of each vector that is not finite or has no length."""
    norms = (vectors * vectors).sum(axis=1)
    good = (norms > 0) & (norms < inf)
    return [vector if ok else BadVectorError() for vector, ok in zip(vectors, good, strict=True)]


def _alone(error: BaseException) -> Exception:
    """Give what an input fails with that failed alone."""
    if is_memory_error(error):
        return TransientError("no memory to compute", code="OUT_OF_MEMORY")
    return error if isinstance(error, PermanentError | TransientError) else PoisonChunkError()


def is_memory_error(error: BaseException) -> bool:
    """Say whether a runtime had not enough memory: then it is no input's fault."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(mark in text for mark in _ALLOCATION_FAILURES)
