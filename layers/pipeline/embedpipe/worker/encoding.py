"""Inputs of synchronous requests as what a model takes."""

from __future__ import annotations

from collections.abc import Sequence

from embedpipe.domain.inputs import LONG_CHARACTERS, TOKENS_OF_A_CUT, tokenized
from embedpipe.errors import InvalidInputError, RejectedInputsError
from embedpipe.ports import ModelInfo, Tokenizer
from embedpipe.ports.models import Kind
from embedpipe.stages.embed import encode_query

Ids = Sequence[int]


def encode(inputs: Sequence[str] | Sequence[Ids], *, kind: Kind, tokenizer: Tokenizer) -> list[Ids]:
    """Give the ids that the model takes, prefix and special tokens included.

    Texts of queries are cut to the longest input of the model, as in search; nothing else is.

    Raises
    ------
    RejectedInputsError
        INPUT_TOO_LONG, with every input that is.
    InvalidInputError
        UNKNOWN_TOKEN: ids that are not the model's.
    PoisonChunkError
        The tokenizer cannot take a text.
    """
    texts = [one for one in inputs if isinstance(one, str)]
    if len(texts) < len(inputs):
        arrays = [one for one in inputs if not isinstance(one, str)]
        encoded: list[Ids] = _completed(arrays, kind, tokenizer)
    elif kind == "query":
        encoded = [_query(text, tokenizer) for text in texts]
    else:
        encoded = tokenized(texts, tokenizer.model.document_prefix, tokenizer)
    check_lengths([len(ids) for ids in encoded], tokenizer.model)
    return encoded


def count(texts: Sequence[str], kind: Kind, tokenizer: Tokenizer) -> list[int]:
    """Give the tokens of texts that somebody else will compute, prefix and special ones too."""
    return [len(ids) for ids in tokenized(texts, _prefix(kind, tokenizer.model), tokenizer)]


def check_lengths(lengths: Sequence[int], model: ModelInfo) -> None:
    """Raise RejectedInputsError (INPUT_TOO_LONG) with every input that the model does not take."""
    too_long = [
        {"index": index, "tokens": tokens}
        for index, tokens in enumerate(lengths)
        if tokens > model.max_tokens
    ]
    if too_long:
        raise RejectedInputsError(
            f"The model takes {model.max_tokens} tokens, special ones included; "
            f"{len(too_long)} of {len(lengths)} inputs have more.",
            code="INPUT_TOO_LONG",
            inputs=too_long,
        )


def _query(text: str, tokenizer: Tokenizer) -> Ids:
    """Cut a query; of a long one the rest is not even tokenized."""
    end, tokens = min(len(text), LONG_CHARACTERS), 0
    while end < len(text) and tokens <= tokenizer.model.max_tokens:
        beginning = text[end - LONG_CHARACTERS : end]
        tokens += len(tokenizer.offsets(beginning).ids) - TOKENS_OF_A_CUT
        end += LONG_CHARACTERS
    return encode_query(text[:end], tokenizer)


def _completed(arrays: Sequence[Ids], kind: Kind, tokenizer: Tokenizer) -> list[Ids]:
    size = tokenizer.vocabulary_size
    for index, ids in enumerate(arrays):
        if max(ids) >= size:
            raise InvalidInputError(
                f"Input {index} has a token that is not the model's: its ids are below {size}.",
                code="UNKNOWN_TOKEN",
                field="input",
            )
    before, after = _surroundings(_prefix(kind, tokenizer.model), tokenizer)
    return [[*before, *ids, *after] for ids in arrays]


def _prefix(kind: Kind, model: ModelInfo) -> str:
    return model.query_prefix if kind == "query" else model.document_prefix


def _surroundings(prefix: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Give what stands before and after the ids of a text: special tokens, and the prefix."""
    # Around a letter: what a tokenizer makes of nothing does not say where a text would be.
    plain = tokenizer.offsets("a").ids
    [full] = tokenizer.encode(["a"])
    at = next((at for at in range(len(full)) if full[at : at + len(plain)] == plain), len(full))
    prefix_ids = tokenizer.offsets(prefix).ids if prefix else []
    return full[:at] + prefix_ids, full[at + len(plain) :]
