"""The data directory of a local cloud: one at a time uses it, everything that lasts lies in it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from embedpipe.local.errors import LocalCloudError

# Every start writes it, with the worker's port: by this a data directory is known.
MARK = "ports.json"
# Models are kept by `--fresh`: they are the same for everybody and slow to make.
WORKER_ENVIRONMENT = "embed.env"
DATA = (
    "postgres",
    "emulator",
    "logs",
    "endpoint.json",
    "passwords.json",
    "api_key",
    "dlq_key",
    "event_sources.json",
    WORKER_ENVIRONMENT,
)


class DataDirectory:
    """Paths and small files of a data directory; models may lie elsewhere, to be shared."""

    def __init__(self, path: Path, models: Path | None = None) -> None:
        self.path = path.expanduser().resolve()
        self.logs = self.path / "logs"
        self.models = models.expanduser().resolve() if models else self.path / "models"
        self.postgres = self.path / "postgres"
        self.emulator = self.path / "emulator"
        self.event_sources = self.path / "event_sources.json"
        self._endpoint = self.path / "endpoint.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory; the kernel lets go of it when the process ends, however that is.

        Raises
        ------
        LocalCloudError
            Another local cloud holds it, it cannot be written to, or its files are not ours.
        """
        with self._opened() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                url = self.endpoint().get("url")
                where = f" and serves {url}" if url else ""
                raise LocalCloudError(
                    f"a local cloud already runs on {self.path}{where}",
                    "use that one, stop it with Ctrl-C, or give another --data-dir",
                ) from None
            # From now on it is known as ours.
            self.port("worker")
            yield

    def _opened(self) -> IO[str]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_is_ours()
            return (self.path / "lock").open("a+")
        except OSError as exc:
            raise LocalCloudError(
                f"{self.path} cannot be used: {exc.strerror}", "give another --data-dir"
            ) from None

    def _check_is_ours(self) -> None:
        is_marked = isinstance(_read_json(self.path / MARK).get("worker"), int)
        if not is_marked and any(os.path.lexists(self.path / name) for name in (MARK, *DATA)):
            raise LocalCloudError(
                f"{self.path} has files where a local cloud puts its own, which --fresh removes",
                "give a --data-dir of its own",
            )

    def clear(self) -> None:
        """Remove what was stored, but not the models. Hold the lock.

        Raises
        ------
        LocalCloudError
            The directory has such files, and no local cloud has put them there.
        """
        self._check_is_ours()
        for name in DATA:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def api_key(self) -> str:
        """Give the API key; SINGLE_USER_API_KEY wins, else one that is made once."""
        if given := os.environ.get("SINGLE_USER_API_KEY"):
            return given
        path = self.path / "api_key"
        if not path.exists():
            _write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def dlq_key(self) -> str:
        """Give the key that seals dead letters; the user's own wins, else one made once."""
        if given := os.environ.get("EMBEDDINGS_DLQ_ENCRYPTION_KEY"):
            return given
        path = self.path / "dlq_key"
        if not path.exists():
            _write_private(path, base64.b64encode(secrets.token_bytes(32)).decode())
        return path.read_text().strip()

    def password(self, role: str) -> str:
        """Give the password of a database role, made once."""
        path = self.path / "passwords.json"
        known = _read_json(path)
        if role not in known:
            known[role] = secrets.token_urlsafe(24)
            _write_private(path, json.dumps(known))
        return str(known[role])

    def endpoint(self) -> dict[str, Any]:
        """Give what the running cloud says of itself (`url`, `pids`, …); empty when none runs."""
        return _read_json(self._endpoint)

    def write_endpoint(self, value: dict[str, Any]) -> None:
        """Say where the cloud is, and which processes it consists of."""
        temporary = self._endpoint.with_suffix(".new")
        temporary.write_text(json.dumps(value, indent=2) + "\n")
        temporary.replace(self._endpoint)

    def write_worker_environment(self, variables: Mapping[str, str]) -> None:
        """Write what an embed worker is told, for one started by hand: `docker run --env-file`."""
        lines = [f"{name}={value}" for name, value in sorted(variables.items())]
        _write_private(self.path / WORKER_ENVIRONMENT, "\n".join(lines))

    def remove_endpoint(self) -> None:
        """Say that no cloud runs."""
        self._endpoint.unlink(missing_ok=True)

    def port(self, name: str) -> int:
        """Give a free port on loopback: the one of the last run if it is still free."""
        path = self.path / MARK
        known = _read_json(path)
        with contextlib.suppress(OSError, OverflowError, TypeError):
            if name in known:
                return _bound_port(known[name])
        known[name] = _bound_port(0)
        path.write_text(json.dumps(known))
        return int(known[name])


def _bound_port(port: int) -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
        return int(sock.getsockname()[1])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")
