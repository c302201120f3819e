"""What is to be embedded: texts or token arrays, in the forms that OpenAI's API takes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from embedpipe.errors import InvalidInputError

MAX_INPUTS = 2048
#: What a job takes of texts; token arrays are never a job's.
MAX_BATCH_TEXTS = 50_000
MAX_TOKEN_ID = 2**31 - 1

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_TOKENS: dict[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID},
    "minItems": 1,
}


def _several(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


_TEXTS, _TOKEN_ARRAYS = _several(_TEXT, MAX_INPUTS), _several(_TOKENS, MAX_INPUTS)


def check_input(value: Any) -> list[str] | list[list[int]]:
    """Give a text, texts, a token array or token arrays as a list of texts or of arrays.

    Raises
    ------
    InvalidInputError
        EMPTY_INPUT, TOO_MANY_INPUTS, WRONG_TYPE, OUT_OF_RANGE, with the first bad input named.
    """
    if isinstance(value, list) and value and _is_id(value[0]):
        value = [value]
    return _checked([value] if isinstance(value, str) else value, "input", MAX_INPUTS)


def check_batch(value: Any) -> list[str] | list[list[int]]:
    """Check a list of texts, longer ones too, or of token arrays. Raises as `check_input` does."""
    is_texts = isinstance(value, list) and bool(value) and isinstance(value[0], str)
    return _checked(value, "inputs", MAX_BATCH_TEXTS if is_texts else MAX_INPUTS)


def _checked(value: Any, field: str, most: int) -> list[str] | list[list[int]]:
    if not isinstance(value, list):
        raise _wrong_type(field)
    if not value:
        raise InvalidInputError("There is nothing to embed.", code="EMPTY_INPUT", field=field)
    if len(value) > most:
        raise InvalidInputError(
            f"{len(value)} inputs; at most {most} are taken.",
            code="TOO_MANY_INPUTS",
            field=field,
        )
    check = _check_text if isinstance(value[0], str) else _check_tokens
    for index, one in enumerate(value):
        check(one, f"{field}.{index}")
    return value


def _check_text(value: Any, field: str) -> None:
    if not isinstance(value, str):
        raise _wrong_type(field)
    if not value:
        raise InvalidInputError("An input is empty.", code="EMPTY_INPUT", field=field)


def _check_tokens(value: Any, field: str) -> None:
    if not isinstance(value, list):
        raise _wrong_type(field)
    if not value:
        raise InvalidInputError("An input is empty.", code="EMPTY_INPUT", field=field)
    if not all(_is_id(one) for one in value):
        raise _wrong_type(field)
    if min(value) < 0 or max(value) > MAX_TOKEN_ID:
        raise InvalidInputError("A token id is out of range.", code="OUT_OF_RANGE", field=field)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wrong_type(field: str) -> InvalidInputError:
    return InvalidInputError(
        "Inputs are texts, or token arrays of integers, and never both.",
        code="WRONG_TYPE",
        field=field,
    )


Input = Annotated[
    list[str] | list[list[int]],
    PlainValidator(check_input),
    WithJsonSchema(
        {
            "oneOf": [_TEXT, _TEXTS, _TOKENS, _TOKEN_ARRAYS],
            "description": "A text, texts, a token array or token arrays. Token ids are the "
            "model's own, without special tokens; these and its prefix are added.",
        }
    ),
]
Inputs = Annotated[
    list[str] | list[list[int]],
    PlainValidator(check_batch),
    WithJsonSchema(
        {
            "oneOf": [_several(_TEXT, MAX_BATCH_TEXTS), _TOKEN_ARRAYS],
            "description": "Texts or token arrays, never both.",
        }
    ),
]
