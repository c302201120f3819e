"""Who calls: by API key, compared in constant time; and what only administrators may."""

from __future__ import annotations

import hashlib
import hmac
import re

from embedpipe.api.reading import Headers, single
from embedpipe.api.services import Services
from embedpipe.errors import ForbiddenError, InvalidInputError, UnauthenticatedError
from embedpipe.ports import Principal

HEADER = "X-API-KEY"
SINGLE_USER = Principal("default", "admin", "single-user")
NOBODY = Principal("", "none", "")
_KEY = re.compile(r"ep_([0-9a-f]{16})_[\x21-\x7e]{1,256}")


def authenticate(headers: Headers, services: Services) -> Principal:
    """Give who calls.

    The key stands in `X-API-KEY`, or in `Authorization: Bearer`, which is all that OpenAI's clients
    send; given both, they must be the same. The key of `SINGLE_USER_API_KEY` is the administrator
    of the tenant `default`; any other is looked up by its id and compared by its SHA-256.

    Raises
    ------
    UnauthenticatedError
        The key is missing, given twice, unknown, revoked or wrong; never which of these.
    """
    key = _key(headers)
    # Bytes: compare_digest raises TypeError for text beyond ASCII.
    given = _encoded(key)
    own = services.settings.single_user_api_key
    if own is not None and hmac.compare_digest(given, own.get_secret_value().encode()):
        return SINGLE_USER
    match = _KEY.fullmatch(key)
    found = services.database.api_keys.find(match[1]) if match else None
    if found is None or not hmac.compare_digest(hashlib.sha256(given).digest(), found[1]):
        raise UnauthenticatedError
    return found[0]


def authorize(principal: Principal) -> None:
    """Raise ForbiddenError for who is no administrator."""
    if principal.role != "admin":
        raise ForbiddenError("Only administrators may do this.")


def _key(headers: Headers) -> str:
    try:
        named, authorization = single(headers, HEADER), single(headers, "Authorization")
    except InvalidInputError:
        raise UnauthenticatedError from None
    scheme, _, bearer = (authorization or "").partition(" ")
    # Other schemes are not for us: a proxy's own credentials, perhaps.
    keys = [named] if named is not None else []
    if scheme.lower() == "bearer":
        keys.append(bearer.strip(" "))
    # Of two that differ one is a mistake, and nobody can say which.
    if not keys or not keys[0] or _encoded(keys[0]) != _encoded(keys[-1]):
        raise UnauthenticatedError
    return keys[0]


def _encoded(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
