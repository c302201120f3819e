"""What may be shown of a message: an allow-list, and never a secret, text, token or vector."""

from __future__ import annotations

import json
import re
from typing import Any

#: Keys whose values may be shown. Everything else is told by its kind and size alone.
SHOWN = frozenset(
    {
        "batch_no",
        "bytes",
        "chunk_count",
        "chunk_from",
        "collection",
        "created_at",
        "dimensions",
        "document_id",
        "document_version",
        "epoch",
        "fingerprint",
        "job_id",
        "model_id",
        "msg_schema",
        "msg_version",
        "operation_id",
        "sha256",
        "tenant_id",
    }
)
#: Keys that are named, with the kind and size of what they hold.
_NAMED = frozenset({"schema_url", "text", "texts", "tokens", "traceparent", "vectors"})
#: Keys under which objects are looked into.
_OPENED = frozenset({"claim_check"})
_SECRET = re.compile(
    r"api[-_]?key|authorization|bearer|cookie|credential|passw|private[-_]?key|secret|session"
    r"|signature|token",
    re.IGNORECASE,
)
#: What looks like a secret wherever it stands.
_LOOKS_SECRET = re.compile(
    r"ep_[0-9a-f]{16}_|\bsk-[A-Za-z0-9_-]{8}|\bBearer\s|\bBasic\s|AKIA[0-9A-Z]{16}|eyJ[\w-]+\."
    r"|-----BEGIN|://[^/\s:@]+:[^/\s@]+@",
)
_REDACTED = "[REDACTED]"
_MAX_TEXT = 256


def preview(body: str) -> dict[str, Any]:
    """Give what may be shown of a message's body.

    Values of known names that are short and do not look like secrets; of all else the kind and
    the size: a document's text, its tokens and vectors cannot be seen here.
    """
    size = len(body.encode("utf-8", "surrogatepass"))
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {"body": f"<{size} bytes>"}
    if not isinstance(value, dict):
        return {"body": _told(value, size)}
    return _object(value)


def _object(value: dict[str, Any]) -> dict[str, Any]:
    shown = {key: _value(key, item) for key, item in value.items() if _is_named(key)}
    others = len(value) - len(shown)
    # A stranger's key may be a document's text as well as its value may.
    return shown | ({"...": f"<{others} more>"} if others else {})


def _is_named(key: str) -> bool:
    return key in SHOWN or key in _NAMED or key in _OPENED or _SECRET.fullmatch(key) is not None


def _value(key: str, item: Any) -> Any:
    if key in _OPENED and isinstance(item, dict):
        return {name: _value(name, inner) for name, inner in item.items() if name in SHOWN}
    if key not in SHOWN:
        return _REDACTED if is_secret(key) else _told(item)
    if isinstance(item, str):
        return _text(item)
    return item if isinstance(item, int | float | bool) or item is None else _told(item)


def _text(text: str) -> str:
    if _LOOKS_SECRET.search(text) or _holds_secret(text):
        return _REDACTED
    return text if len(text) <= _MAX_TEXT else _told(text)


def is_secret(key: str) -> bool:
    """Whether a key names a secret."""
    return _SECRET.search(key) is not None and key not in ("tokens", "token_count")


def _holds_secret(text: str) -> bool:
    """Whether a text is JSON that has a secret somewhere, in JSON in it too."""
    if "{" not in text:
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _SECRET.search(text) is not None
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if any(is_secret(str(key)) for key in item):
                return True
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str) and item != text and _text(item) == _REDACTED:
            return True
    return False


def _told(item: Any, size: int | None = None) -> str:
    match item:
        case str():
            return f"<text of {len(item)} characters>"
        case list():
            return f"<list of {len(item)}>"
        case dict():
            return f"<object of {len(item)} keys>"
        case None:
            return "<null>"
        case _:
            return f"<{type(item).__name__}>" if size is None else f"<{size} bytes>"
