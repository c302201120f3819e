"""Keys to providers: from the environment, or from Secrets Manager, where they may be changed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from threading import Lock

from pydantic import SecretStr

from embedpipe.errors import ProviderRefusedError, ProviderUnavailableError
from embedpipe.models.catalogue_entries import RemoteEntry

#: A key that is refused is read anew at most this often: a wrong one is refused with every request.
RENEW_EVERY_S = 60.0

_HEADER_SAFE = re.compile(r"[!-~]{1,4096}")

ReadSecret = Callable[[str, bool], str]


class ProviderKeys:
    """The keys of a deployment. Threads may share it.

    A key is looked for in this order: the entry's `api_key_secret_arn`, its `api_key_env`, the
    provider's own variable, the shared secret by model id, the shared secret by provider.

    Parameters
    ----------
    given
        Keys by provider, from the settings.
    shared_arn
        A secret with a JSON object of keys, by provider or model id.
    environment
        Where `api_key_env` is looked up.
    read
        Gives a secret by its ARN; the second argument says that one kept from before will not do.
    """

    def __init__(
        self,
        given: Mapping[str, SecretStr],
        *,
        read: ReadSecret,
        shared_arn: str | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = dict(given)
        self._shared_arn = shared_arn
        self._environment = environment or {}
        self._read = read
        self._clock = clock
        self._renewed_at: dict[str, float] = {}
        self._lock = Lock()

    def of(self, model_id: str, entry: RemoteEntry) -> ModelKey:
        """Give the key of one model; nothing is read before it is asked for."""
        return ModelKey(self, model_id, entry)

    def find(self, model_id: str, entry: RemoteEntry, *, fresh: bool = False) -> str | None:
        """Give the key, None for a service of one's own that needs none.

        Raises
        ------
        ProviderRefusedError
            There is none, or it cannot be one.
        ProviderUnavailableError
            Secrets Manager does not answer.
        """
        key = self._key(model_id, entry, fresh)
        if key is None:
            if entry.provider == "local_api" and entry.api_key_env is None:
                return None
            raise ProviderRefusedError(f"there is no key for {entry.provider}")
        if not _HEADER_SAFE.fullmatch(key):
            # A client would quote the key in its own error.
            raise ProviderRefusedError(f"the key for {entry.provider} has a blank or a line end")
        return key

    def may_renew(self, entry: RemoteEntry) -> bool:
        """Say whether the secret behind the key may be read anew now, and count it as read."""
        arn = entry.api_key_secret_arn or self._shared_arn
        if arn is None:
            return False
        with self._lock:
            now = self._clock()
            if now - self._renewed_at.get(arn, now - RENEW_EVERY_S) < RENEW_EVERY_S:
                return False
            self._renewed_at[arn] = now
            return True

    def _key(self, model_id: str, entry: RemoteEntry, fresh: bool) -> str | None:
        if entry.api_key_secret_arn is not None:
            return self._read(entry.api_key_secret_arn, fresh).strip()
        if entry.api_key_env is not None:
            return self._environment.get(entry.api_key_env, "").strip() or None
        if (given := self._given.get(entry.provider)) is not None:
            return given.get_secret_value().strip()
        return self._shared(model_id, entry, fresh) if self._shared_arn else None

    def _shared(self, model_id: str, entry: RemoteEntry, fresh: bool) -> str | None:
        # A service of one's own is asked with a key that was meant for it, and no other.
        names = [model_id] if entry.provider == "local_api" else [model_id, entry.provider]
        try:
            keys = json.loads(self._read(self._shared_arn or "", fresh))
            found = [keys[name] for name in names if name in keys]
        except (ValueError, TypeError):
            raise ProviderRefusedError("the secret with the keys is no JSON object") from None
        return str(found[0]).strip() if found else None


class ModelKey:
    """The key of one model."""

    def __init__(self, keys: ProviderKeys, model_id: str, entry: RemoteEntry) -> None:
        self._keys = keys
        self._model_id = model_id
        self._entry = entry

    def get(self) -> str | None:
        """Give the key, None where none is needed; see `ProviderKeys.find`."""
        return self._keys.find(self._model_id, self._entry)

    def renewed(self, refused: str | None) -> str | None:
        """Give another key than the refused one, None if there is none."""
        fresh = self._keys.may_renew(self._entry)
        key = self._keys.find(self._model_id, self._entry, fresh=fresh)
        return None if key == refused else key


def from_secrets_manager(arn: str, fresh: bool) -> str:
    """Read a secret. Raises ProviderUnavailableError, which does not name it."""
    from aws_lambda_powertools.utilities.parameters.exceptions import (
        GetParameterError,
        TransformParameterError,
    )

    from embedpipe.adapters.secrets import read_secret

    try:
        return read_secret(arn, fresh=fresh)
    except (GetParameterError, TransformParameterError) as exc:
        raise ProviderUnavailableError("the provider's key cannot be read") from exc
