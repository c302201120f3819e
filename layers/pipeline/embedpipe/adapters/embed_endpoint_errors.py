"""What the embed worker's internal endpoint refuses, as errors of the pipeline."""

from __future__ import annotations

import json
import re
from typing import Any

from embedpipe.errors import (
    CircuitOpenError,
    EmbedderUnavailableError,
    InvalidInputError,
    ModelUnavailableError,
    NotFoundError,
    PipelineError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RejectedInputsError,
    TooLargeError,
    TransientError,
)

# A worker that starts loads its model for some seconds; one from zero takes minutes.
RETRY_AFTER_S = 30.0

# What somebody can wait out, and is told apart for.
_WAITED_OUT: dict[str, type[TransientError]] = {
    cls.code: cls
    for cls in (
        CircuitOpenError,
        EmbedderUnavailableError,
        ModelUnavailableError,
        ProviderRefusedError,
        ProviderUnavailableError,
    )
}
_WAITED_OUT_CODES = {"MODEL_LOADING", "OVERLOADED", "OUT_OF_MEMORY"}
_ABOUT_INPUT = {"DIMENSIONS_NOT_OFFERED", "UNKNOWN_TOKEN", "TOKENS_NOT_TAKEN"}
_INPUTS = {"INPUT_TOO_LONG", "INPUT_REJECTED"}


def error_of(status: int, body: bytes, retry_after: str | None) -> PipelineError:
    """Give the error for an answer that is none of vectors.

    Only what is known to be about the request is the caller's fault; the rest is an outage.
    """
    told = _told(body)
    code, message = told.get("code"), str(told.get("message"))
    if code in _INPUTS:
        inputs = _inputs(told.get("inputs"))
        if inputs:
            return RejectedInputsError(message, code=str(code), inputs=inputs)
    if code in _ABOUT_INPUT:
        field = "dimensions" if code == "DIMENSIONS_NOT_OFFERED" else "input"
        return InvalidInputError(message, code=str(code), field=field)
    if code == "POISON_CHUNK" and status == 422:
        return InvalidInputError(message, code="INPUT_REJECTED", field="input")
    if code == "MODEL_NOT_FOUND" and status == 404:
        return NotFoundError("The embedder has no such model.", code="MODEL_NOT_FOUND")
    if code == "TOO_LARGE" and status == 413:
        return TooLargeError("The inputs are too many for one request.", field="input")
    if status == 503:
        return _outage(code, message, retry_after)
    return unavailable(f"the embedder answers {status}")


def unavailable(message: str) -> EmbedderUnavailableError:
    """Give the error for an embedder that does not do what it should."""
    return EmbedderUnavailableError(message, retry_after_s=RETRY_AFTER_S)


def _outage(code: Any, message: str, retry_after: str | None) -> TransientError:
    known = retry_after is not None and re.fullmatch(r"[0-9]{1,6}", retry_after)
    retry_after_s = float(retry_after) if retry_after is not None and known else RETRY_AFTER_S
    if code in _WAITED_OUT:
        return _WAITED_OUT[code](retry_after_s=retry_after_s)
    if code in _WAITED_OUT_CODES:
        return EmbedderUnavailableError(message, code=code, retry_after_s=retry_after_s)
    return EmbedderUnavailableError("the embedder answers 503", retry_after_s=retry_after_s)


def _told(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
        return {}
    return told if isinstance(told, dict) else {}


def _inputs(told: Any) -> list[dict[str, int]]:
    try:
        return [
            {name: int(one[name]) for name in ("index", "tokens") if name in one} for one in told
        ]
    except (TypeError, ValueError, KeyError):
        return []
