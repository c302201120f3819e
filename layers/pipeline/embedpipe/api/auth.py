"""Who calls: by API key, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re

from embedpipe.api.reading import Headers, single
from embedpipe.api.services import Services
from embedpipe.errors import InvalidInputError, UnauthenticatedError
from embedpipe.ports import Principal

HEADER = "X-API-KEY"
SINGLE_USER = Principal("default", "admin", "single-user")
NOBODY = Principal("", "none", "")
_KEY = re.compile(r"ep_([0-9a-f]{16})_[\x21-\x7e]{1,256}")


def authenticate(headers: Headers, services: Services) -> Principal:
    """Give who calls.

    The key of `SINGLE_USER_API_KEY` is the administrator of the tenant `default`; any other is
    looked up by its id and compared by its SHA-256.

    Raises
    ------
    UnauthenticatedError
        The key is missing, given twice, unknown, revoked or wrong; never which of these.
    """
    try:
        key = single(headers, HEADER)
    except InvalidInputError:
        raise UnauthenticatedError from None
    if not key:
        raise UnauthenticatedError
    # Bytes: compare_digest raises TypeError for text beyond ASCII.
    given = key.encode("utf-8", "surrogatepass")
    own = services.settings.single_user_api_key
    if own is not None and hmac.compare_digest(given, own.get_secret_value().encode()):
        return SINGLE_USER
    match = _KEY.fullmatch(key)
    found = services.database.api_keys.find(match[1]) if match else None
    if found is None or not hmac.compare_digest(hashlib.sha256(given).digest(), found[1]):
        raise UnauthenticatedError
    return found[0]
