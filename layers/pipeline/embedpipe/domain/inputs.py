"""Inputs that are embedded as they are: each is one chunk, in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from embedpipe.domain.chunking import ModelTokenizer, Piece
from embedpipe.errors import PermanentError

#: What a document of inputs is declared as. Its content is a JSON array of texts; its source, in
#: which its chunks lie, is these texts one after the other.
INPUTS_TYPE = "application/vnd.embedpipe.inputs+json"
#: A tokenizer holds some 600 bytes per token of what it works on: it gets so much at once.
GROUP_CHARACTERS = 131_072
#: Longer than any model takes, but for white space and words that no tokenizer knows.
LONG_CHARACTERS = 32_768
#: How many tokens a cut inside a text can add.
TOKENS_OF_A_CUT = 8
_NAMED = 20


def join(texts: Sequence[str]) -> str:
    """Give the content of a document of inputs."""
    return json.dumps(list(texts), ensure_ascii=False, separators=(",", ":"))


def pieces(
    content: str,
    *,
    tokenizer: ModelTokenizer,
    checks_length: bool = True,
    max_chunks: int | None = None,
) -> list[Piece]:
    """Give each input of a document as a chunk.

    Parameters
    ----------
    checks_length
        False where the tokenizer only bounds lengths: the provider refuses what is too long.

    Raises
    ------
    PermanentError
        UNCHUNKABLE: the content is none of inputs, or one of them is empty. TOO_MANY_CHUNKS.
        INPUT_TOO_LONG: the model does not take some of them whole; the message names the first.
    """
    texts = _texts(content)
    if max_chunks is not None and len(texts) > max_chunks:
        raise PermanentError(f"there are more than {max_chunks} inputs", code="TOO_MANY_CHUNKS")
    encoded = tokenized(texts, tokenizer.model.document_prefix, tokenizer)
    largest = tokenizer.model.max_tokens
    too_long = [index for index, ids in enumerate(encoded) if len(ids) > largest]
    if checks_length and too_long:
        named = ", ".join(map(str, too_long[:_NAMED])) + (", …" if too_long[_NAMED:] else "")
        raise PermanentError(
            f"{len(too_long)} of {len(texts)} inputs have more than {largest} tokens: {named}",
            code="INPUT_TOO_LONG",
        )
    result, start = [], 0
    for index, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
        result.append(Piece(index, start, start + len(text), text, ids, ()))
        start += len(text)
    return result


def tokenized(texts: Sequence[str], prefix: str, tokenizer: ModelTokenizer) -> list[Sequence[int]]:
    """Give the ids of many texts in little memory, prefix and special tokens included.

    Of one that is far longer than the model takes the ids are stand-ins: only their number, about,
    is told.
    """
    encoded: list[Sequence[int]] = []
    for group in _groups(texts):
        found = _long_tokens(group[0], tokenizer)
        if found is not None:
            encoded.append(range(found))
        else:
            encoded += tokenizer.encode([prefix + text for text in group])
    return encoded


def _long_tokens(text: str, tokenizer: ModelTokenizer) -> int | None:
    """Count, about, the tokens of a long text that the model cannot take; None of any other."""
    if len(text) <= LONG_CHARACTERS:
        return None
    total, spare = 0, 0
    for at in range(0, len(text), LONG_CHARACTERS):
        total += len(tokenizer.offsets(text[at : at + LONG_CHARACTERS]).offsets)
        spare += TOKENS_OF_A_CUT
    return total - spare if total - spare > tokenizer.model.max_tokens else None


def _texts(content: str) -> list[str]:
    try:
        texts = json.loads(content)
    except (ValueError, RecursionError):
        texts = None
    if not isinstance(texts, list) or not texts:
        raise PermanentError("the document is none of inputs", code="UNCHUNKABLE")
    if not all(isinstance(text, str) and text for text in texts):
        raise PermanentError("an input is empty or no text", code="UNCHUNKABLE")
    return texts


def _groups(texts: Sequence[str]) -> Iterator[list[str]]:
    """Part texts, in order, so that little is tokenized at once; a long one stands alone."""
    group: list[str] = []
    characters = 0
    for text in texts:
        longest = max(len(text), len(group[0])) if group else 0
        if group and (characters + len(text) > GROUP_CHARACTERS or longest > LONG_CHARACTERS):
            yield group
            group, characters = [], 0
        group.append(text)
        characters += len(text)
    if group:
        yield group
